"""Whoever dies while telling a webhook leaves it to the next process: at least once, under the same id."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.webhook_crash import DIED
from tests.support.documents import document, task
from tests.support.service import ROOT, Service, wait_for
from tests.support.stub_api import Answer, StubApi

TAKEN = {"POST /hook": [Answer(200)]}


def run(database: Path, url: str, point: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.webhook_crash", str(database), url, point],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=40,
    )


@pytest.mark.parametrize(("point", "times"), [("claimed", 1), ("sent", 2), ("forgotten", 1)])
def test_a_crash_loses_no_delivery(tmp_path: Path, point: str, times: int) -> None:
    with StubApi(TAKEN) as api:
        crashed = run(tmp_path / "x.db", f"{api.url}/hook", point)
        assert crashed.returncode == DIED, crashed.stderr
        recovered = run(tmp_path / "x.db", f"{api.url}/hook", "-")
        assert recovered.returncode == 0, recovered.stderr

    assert [payload["execution_id"] for _, _, payload in api.asked] == crashed.stdout.split() * times
    assert len({headers["webhook-id"] for _, headers, _ in api.asked}) == 1


class KillingApi(StubApi):
    """Kills the service before it answers the first request."""

    service: Service

    def take(self, asked: str, headers: dict[str, str], body: Any) -> Answer:
        answer = super().take(asked, headers, body)
        if len(self.asked) == 1:
            self.service.kill()
        return answer


def test_a_service_that_is_killed_while_it_waits_for_the_answer_sends_it_again(tmp_path: Path) -> None:
    with KillingApi(TAKEN) as api, Service(tmp_path, "--http-allow", "127.0.0.1") as service:
        api.service = service
        told = document(task("nothing"), on_end={"webhooks": [{"url": f"{api.url}/hook"}]})
        with contextlib.suppress(httpx.TransportError):
            service.execute(told, "respond-async")
        wait_for(lambda: service.process and service.process.poll(), service.log)
        service.start()
        wait_for(lambda: len(api.asked) > 1 or None, service.log)

        [(_, first, payload), (_, second, again)] = api.asked
        assert first["webhook-id"] == second["webhook-id"]
        assert payload == again
        wait_for(lambda: "webhooks_pending 0.0" in metrics_of(service) or None, lambda: metrics_of(service))


def metrics_of(service: Service) -> str:
    return service.client.get("/metrics").text
