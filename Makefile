# Flow Manager. `make help` lists what can be made.
#
# Needs only python3 (3.11 or newer, with venv), make, sh and the package index. Everything that is
# installed is pinned with its hash; set-up is stamped, so that it is done once and again only when a
# pinned file changes.

PYTHON ?= python3
UV_VERSION := 0.13.9

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet install --require-virtualenv --root-user-action=ignore
SERVE_READY := $(VENV)/.serve-ready
TEST_READY := $(VENV)/.test-ready
LOCK_VENV := .venv-lock
LOCK := $(LOCK_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(LOCK_OPTIONS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test check torture bench lock upgrade clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

serve: $(SERVE_READY) ## Start the service on http://localhost:5000, setting up what is missing
	@exec $(RUN) app.py

# Two processes, for a machine of two cores: many tests wait. Each takes whole files, in the order of the
# tree, which has the long ones first; xdist would begin with the files of the most tests.
test: check ## Check everything, then run the tests
	$(RUN) -m pytest -m "not torture" -n 2 --dist loadfile --no-loadscope-reorder

check: $(TEST_READY) ## Lint, formatting, types and the direction of imports
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

torture: $(TEST_READY) ## The long forms of the fault tests
	$(RUN) -m pytest -m torture --timeout 3600

bench: $(TEST_READY) ## Run every workload and print it beside its target
	$(RUN) -m benchmarks

lock: $(LOCK_VENV)/.ready ## Bring the pinned requirements in line with pyproject.toml
	$(LOCK) pyproject.toml --group dev -o requirements-dev.txt
	$(LOCK) pyproject.toml -c requirements-dev.txt -o requirements.txt
	$(LOCK) --group build -c requirements-dev.txt -o requirements-build.txt

upgrade: ## The same, moving every pin to the newest version that pyproject.toml allows
	$(MAKE) lock LOCK_OPTIONS=--upgrade

clean: ## Remove the virtual environments and all that was built or cached; data stays
	rm -rf $(VENV) $(LOCK_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Flow Manager needs Python 3.11 or newer; '$(PYTHON) --version' says: $$($(PYTHON) --version 2>&1)" >&2; \
		echo "Name another one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "'$(PYTHON)' cannot create virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(VENV); exit 1; }
	@touch $@

# The project itself goes in last, without dependencies and without an index: nothing unpinned is fetched.
$(SERVE_READY): $(VENV)/.created requirements.txt requirements-build.txt pyproject.toml
	@echo "Installing the pinned requirements ..."
	@$(PIP) --require-hashes -r requirements.txt -r requirements-build.txt
	@$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(TEST_READY): $(SERVE_READY) requirements-dev.txt
	@echo "Installing what the tests need ..."
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

$(LOCK_VENV)/.ready: Makefile
	$(PYTHON) -m venv --clear $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	touch $@
