"""Deliveries over real sockets, to receivers that misbehave."""

from __future__ import annotations

import asyncio
import time

import pytest

from flow_manager.ports.webhooks import Sent
from flow_manager.tasks.builtin import webhooks
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.http import HttpClient
from flow_manager.tasks.builtin.webhooks import HttpSender
from tests.support.fault_server import (
    Behaviour,
    FaultServer,
    answering,
    dripping,
    endless,
    fault_server,
    hang,
    redirect_to_itself,
    sending,
)
from tests.support.http_calls import LOOPBACK, OK
from tests.support.ports import free_port

HEADERS = {"content-type": "application/json", "webhook-id": "id-1", "webhook-signature": "v1,abc="}
BODY = '{"event":"completed","name":"\u00fc"}'.encode()


def sender(*allow: str) -> HttpSender:
    return HttpSender(HttpClient(AllowList.parse(allow)))


def send(behaviour: Behaviour) -> tuple[Sent, FaultServer]:
    async def run() -> tuple[Sent, FaultServer]:
        async with fault_server(behaviour) as server:
            return await sender(*LOOPBACK).send(server.url("/hook?a=1"), HEADERS, BODY), server

    return asyncio.run(run())


def test_what_is_sent_arrives_as_it_is() -> None:
    sent, server = send(answering(status=204, reason="No Content"))

    assert sent == Sent(204)
    assert sent.has_arrived
    [received] = server.requests
    assert (received.method, received.target, received.body) == ("POST", "/hook?a=1", BODY)
    assert {name: received.headers[name] for name in HEADERS} == HEADERS
    assert received.headers["idempotency-key"] == "id-1"


@pytest.mark.parametrize("status", [301, 400, 410, 500, 503])
def test_any_other_status_is_told(status: int) -> None:
    sent, _ = send(answering(b"no", status, "No"))

    assert sent == Sent(status)
    assert not sent.has_arrived


def test_redirects_are_not_followed() -> None:
    sent, server = send(redirect_to_itself)

    assert (sent.status, len(server.requests)) == (302, 1)


def test_a_body_without_end_does_not_undo_the_status_in_front_of_it() -> None:
    sent, _ = send(endless(OK + b"\r\n"))

    assert sent == Sent(200)


def test_an_answer_that_is_no_http_is_none() -> None:
    sent, _ = send(sending(b"hello\r\n\r\n"))

    assert sent.status == 0
    assert "not HTTP" in sent.detail
    assert not sent.is_refused


@pytest.mark.parametrize("behaviour", [hang, dripping(OK, 0.05)], ids=["hang", "dripping"])
def test_a_receiver_that_takes_too_long_is_given_up(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "SEND_SECONDS", 0.2)
    began = time.monotonic()

    sent, _ = send(behaviour)

    assert (sent.status, sent.is_refused) == (0, False)
    assert "within 0.2 s" in sent.detail
    assert time.monotonic() - began < 2


def test_where_nobody_listens_there_is_no_answer() -> None:
    sent = asyncio.run(sender(*LOOPBACK).send(f"http://127.0.0.1:{free_port()}/", HEADERS, BODY))

    assert (sent.status, sent.is_refused) == (0, False)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/latest", "http://2130706433/"]
)
def test_addresses_within_are_refused_unless_they_are_allowed(url: str) -> None:
    sent = asyncio.run(sender().send(url, HEADERS, BODY))

    assert (sent.status, sent.is_refused) == (0, True)
    assert "FLOW_MANAGER_HTTP_ALLOW" in sent.detail


def test_a_url_that_only_had_the_shape_of_one_is_refused() -> None:
    sent = asyncio.run(sender().send("https://a_b..example/", HEADERS, BODY))

    assert (sent.status, sent.is_refused) == (0, True)
