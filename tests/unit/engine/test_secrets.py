"""What a task that was given secrets hands back is recorded without them, however they are written."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.results import TaskError
from flow_manager.engine.secrets import HIDDEN, LONGEST, PART, Secrets
from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.builtin.answer import MOST_EXCERPT

ODD = 'p&ss/w\u00f6rd "1"+\\~?>'
TOKEN = "tok-0123456789abcdefghijklmnopqrstuvwxyz"


def hidden(data: Any, *secrets: str) -> Any:
    known = Secrets({f"secret{number}": secret for number, secret in enumerate(secrets)})
    return known.hidden_in(AttemptResult("success", "", data)).data


def test_a_secret_is_hidden_wherever_a_result_has_texts() -> None:
    error = TaskError("task.failed", f"no {TOKEN}", True, {"a": [TOKEN]})
    result = AttemptResult("failure", f"bad {TOKEN}!", {TOKEN: {"b": [1, f"<{TOKEN}>"]}}, error)

    found = Secrets({"token": TOKEN}).hidden_in(result)

    assert (found.message, found.data) == ("bad ***!", {HIDDEN: {"b": [1, "<***>"]}})
    assert found.error == TaskError("task.failed", "no ***", True, {"a": [HIDDEN]})


def test_without_secrets_a_result_is_handed_on_as_it_is() -> None:
    result = AttemptResult("success", "fine", {"a": [1, "abc"]})

    assert Secrets().hidden_in(result) is result
    assert Secrets({"short": "abc"}).hidden_in(result) is result


# -- numbers


@pytest.mark.parametrize(
    ("secret", "number"),
    [("12345678", 12345678), ("12345678", 12345678.0), ("-1234", -1234), ("3.1415", 3.1415), ("1e+16", 1e16)],
)
def test_a_number_that_is_written_like_a_secret_is_hidden(secret: str, number: float) -> None:
    data = {"pin": number, "list": [number, number * 2]}

    assert hidden(data, secret) == {"pin": HIDDEN, "list": [HIDDEN, number * 2]}


@pytest.mark.parametrize("secret", ["1.00", "0001", "true", "null", "NaN ", "[1]1", "0.00", "[" * 5000])
def test_what_is_no_number_or_is_written_otherwise_hides_none(secret: str) -> None:
    data = [1, 0, 1.0, True, False, None]

    assert json.dumps(hidden(data, secret)) == json.dumps(data)


# -- the forms of a secret

FORMS = {
    "plain": ODD,
    "JSON": orjson.dumps({"a": ODD}).decode(),
    "JSON in ASCII": json.dumps({"a": ODD}),
    "Python": repr([ODD]),
    "a path": "/v1/" + quote(ODD),
    "a part of a path": "/v1/" + quote(ODD, safe=""),
    "a form": quote_plus(ODD),
    "a query": urlencode({"a": 1, "key": ODD}),
    "base64": b64encode(ODD.encode()).decode(),
    "base64 for URLs": urlsafe_b64encode(ODD.encode()).decode(),
    **{
        f"base64 behind {user!r}": b64encode(f"{user}:{ODD}:x".encode()).decode()
        for user in ("a", "ab", "abc")
    },
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_of_a_secret_is_hidden_in_results_and_in_logs(text: str) -> None:
    longest = max(len(ODD.encode()) // 2, 4)  # what no run of characters of the text may have left

    in_result, in_line = hidden(f"< {text} >", ODD), Secrets({"odd": ODD}).hidden_in_line(f"< {text} >")

    assert HIDDEN in in_result
    assert in_result == in_line
    assert len(in_result) < len(f"< {text} >") - longest


def test_a_secret_within_another_one_leaves_nothing_of_that() -> None:
    assert hidden(f"{TOKEN}-more {TOKEN}", TOKEN, f"{TOKEN}-more") == "*** ***"


# -- texts that were cut


@pytest.mark.parametrize("kept", range(1, len(TOKEN)))
def test_what_a_cut_has_left_of_a_secret_is_hidden_unless_it_is_little(kept: int) -> None:
    start, end = TOKEN[:kept], TOKEN[-kept:]

    found = hidden({"a": f"the body {start}", "b": f"{end} the body"}, TOKEN)

    is_enough = kept >= PART
    assert found["a"] == f"the body {HIDDEN if is_enough else start}"
    assert found["b"] == f"{HIDDEN if is_enough else end} the body"


@pytest.mark.parametrize(("secret", "kept", "is_hidden"), [
    ("abcdefgh", "abcd", True), ("abcdefgh", "abc", False), ("0123456789ab", "012345", True),
    ("0123456789ab", "01234", False), ("abcd", "abc", False),
])  # fmt: skip
def test_of_a_shorter_secret_half_is_enough(secret: str, kept: str, is_hidden: bool) -> None:
    assert hidden(f"x {kept}", secret) == f"x {HIDDEN if is_hidden else kept}"


def test_a_part_that_is_not_at_an_edge_was_not_cut() -> None:
    text = f"the {TOKEN[:20]} and the {TOKEN[-20:]} of it"

    assert hidden({"a": text}, TOKEN) == {"a": text}


def test_the_name_of_a_member_is_not_cut() -> None:
    assert hidden({"password": "password"}, "password1234") == {"password": HIDDEN}


def test_a_cut_form_is_hidden_as_well() -> None:
    text = b64encode(f"somebody:{TOKEN}".encode()).decode()

    assert hidden(text[:-20], TOKEN) == text[:12] + HIDDEN


@pytest.mark.parametrize("cut", [slice(0, MOST_EXCERPT), slice(-MOST_EXCERPT, None)])
def test_of_a_secret_that_is_longer_than_the_text_that_was_kept_nothing_is_left(cut: slice) -> None:
    secret = "".join(f"{number:05}" for number in range(LONGEST // 5))

    assert hidden(f"the body {secret} is long"[cut], secret) in (f"the body {HIDDEN}", f"{HIDDEN} is long")


@pytest.mark.parametrize("secret", ["aaaaaaaa", "abababab", "aaaabaaaab", "abcdabcdabcd"])
@given(text=st.text(alphabet="abcd", max_size=30))
def test_a_secret_that_repeats_itself_is_found_at_the_edges(secret: str, text: str) -> None:
    found = hidden(text, secret)

    assert secret not in found
    least = max(4, len(secret) // 2)
    assert not any(found.endswith(secret[:kept]) for kept in range(least, len(secret)))
    assert not any(found.startswith(secret[-kept:]) for kept in range(least, len(secret)))
