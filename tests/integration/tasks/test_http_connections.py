"""The connections of the `http` task: under TLS, by names that lead astray, used again, many at once."""

from __future__ import annotations

import asyncio
import gc
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from flow_manager.tasks.builtin import connections as connections_module
from flow_manager.tasks.builtin.connections import MOST_IDLE
from flow_manager.tasks.builtin.guard import Resolve
from tests.support.fault_server import (
    Behaviour,
    Connection,
    FaultServer,
    Received,
    answering,
    fault_server,
    hang,
    sending,
)
from tests.support.http_calls import JSON, OK, Call, caller, error_of, play

# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for shop.example, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the program openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example",
         "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def server_tls(certificate: tuple[Path, Path], names: list[str | None]) -> ssl.SSLContext:
    """Notes which names clients ask for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    return context


def resolving_to(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_under_tls_the_name_is_checked_and_the_address_is_the_judged_one(
    certificate: tuple[Path, Path], version: ssl.TLSVersion
) -> None:
    names: list[str | None] = []
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    trusting.maximum_version = version
    call = caller(resolve=resolving_to("127.0.0.1"), tls=trusting)
    body = b"x" * 200_000

    async def scenario() -> None:
        async with fault_server(answering(body), tls=server_tls(certificate, names)) as server:
            url = server.url("/v1", scheme="https", host="Shop.Example.")
            for _ in range(2):
                result = await call({"url": url, "method": "POST", "body": "y" * 200_000})
                assert result.data["body"] == body.decode()
            assert server.requests[0].headers["host"] == f"shop.example:{server.port}"
            assert len(server.requests[0].body) == 200_000
            assert server.connections == 1

            other = server.url(scheme="https", host="other.example")
            error = error_of(await call({"url": other}))
            assert (error.code, error.retryable) == ("http.tls", False)
            assert "certificate is not accepted" in error.message

    asyncio.run(scenario())

    assert names == ["shop.example", "other.example"]


def test_a_certificate_of_nobody_known_is_not_accepted(certificate: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async with fault_server(answering(), tls=server_tls(certificate, [])) as server:
            url = server.url(scheme="https", host="shop.example")
            error = error_of(await caller(resolve=resolving_to("127.0.0.1"))({"url": url}))
            assert (error.code, error.retryable) == ("http.tls", False)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (sending(b"HTTP/1.1 200 OK\r\n\r\n"), "http.tls"),
        (sending(b""), "http.tls"),
        (hang, "http.timeout"),
    ],
)
def test_a_server_that_speaks_no_tls_is_told(behaviour: Behaviour, code: str) -> None:
    async def scenario() -> None:
        async with fault_server(behaviour, reads_requests=False) as server:
            url = server.url(scheme="https")
            error = error_of(await caller()({"url": url, "connect_timeout": 0.3}))
            assert (error.code, error.retryable) == (code, True)

    asyncio.run(scenario())


# -- F46: names


def test_what_is_internal_is_not_even_connected_to() -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        error = error_of(await call({"url": server.url()}))
        assert (error.code, error.retryable) == ("http.blocked", False)

    server = play(answering(), scenario, caller(allow=()))

    assert server.connections == 0


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost", "shop.example"]
)
def test_no_spelling_reaches_this_machine(host: str) -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        assert error_of(await call({"url": server.url(host=host)})).code == "http.blocked"

    server = play(answering(), scenario, caller(allow=(), resolve=resolving_to("127.0.0.1")))

    assert server.connections == 0


def test_a_name_that_turns_to_an_internal_address_is_refused_at_its_next_connection() -> None:
    asked: list[str] = []

    async def flip(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async def scenario(server: FaultServer, call: Call) -> None:
        url = server.url(host="flip.example")
        assert (await call({"url": url})).outcome == "success"
        assert len(asked) == 1, "the answer that was judged is the one that is used"

        assert error_of(await call({"url": url})).code == "http.blocked"
        assert len(asked) == 2

    server = play(
        sending(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n"), scenario, caller(resolve=flip)
    )

    assert server.connections == 1


def test_an_unknown_name_and_one_that_is_not_resolved_in_time_are_told() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def slow(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(20)
        return []

    call = {"url": "http://nobody.example/", "connect_timeout": 0.2}
    for resolve in (unknown, slow):
        error = error_of(asyncio.run(caller(resolve=resolve)(call)))
        assert (error.code, error.retryable) == ("http.dns", True)


def test_a_name_with_a_thousand_addresses_is_reached_at_one_of_the_first() -> None:
    many = ["::1", "127.0.0.1", *["127.0.0.1"] * 998]

    async def scenario(server: FaultServer, call: Call) -> None:
        assert (await call({"url": server.url(host="many.example")})).outcome == "success"

    play(answering(), scenario, caller(allow=("127.0.0.1", "::1"), resolve=resolving_to(*many)))


# -- connections


def test_a_connection_is_used_again_while_it_lasts() -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        for _ in range(5):
            assert (await call({"url": server.url()})).outcome == "success"

    assert play(answering(b"{}"), scenario).connections == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        for _ in range(2):
            assert (await call({"url": server.url(), "method": "POST"})).outcome == "success"
            await asyncio.sleep(0.05)

    assert play(sending(OK + b"Content-Length: 0\r\n\r\n"), scenario).connections == 2


@pytest.mark.parametrize(("method", "outcome"), [("GET", "success"), ("POST", "failure")])
def test_a_request_that_met_a_closing_connection_is_sent_again_if_that_does_no_harm(
    method: str, outcome: str
) -> None:
    seen: list[str] = []

    async def behave(connection: Connection, request: Received) -> None:
        """Takes a second request on the same connection, and says nothing to it."""
        seen.append(request.method)
        if len(seen) != 2:
            await answering()(connection, request)

    async def scenario(server: FaultServer, call: Call) -> None:
        await call({"url": server.url()})
        result = await call({"url": server.url(), "method": method})
        assert result.outcome == outcome
        if outcome == "failure":
            assert error_of(result).code == "http.protocol"

    play(behave, scenario)

    assert len(seen) == (3 if outcome == "success" else 2)


def test_what_a_server_sends_unasked_reaches_nobody() -> None:
    """A second answer on a kept connection must not become the answer to another call."""
    two = OK + b"Content-Length: 1\r\n\r\n1" + OK + b"Content-Length: 1\r\n\r\n2"

    async def behave(connection: Connection, _: Received) -> None:
        await connection.send(two)
        connection.stays_open = True

    async def scenario(server: FaultServer, call: Call) -> None:
        for _ in range(3):
            assert (await call({"url": server.url()})).data["body"] == "1"

    assert play(behave, scenario).connections == 3


def test_idle_connections_are_few_and_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "IDLE_SECONDS", 1.0)

    async def behave(connection: Connection, request: Received) -> None:
        await asyncio.sleep(0.2)
        await answering()(connection, request)

    async def scenario(server: FaultServer, call: Call) -> None:
        await asyncio.gather(*(call({"url": server.url()}) for _ in range(MOST_IDLE + 50)))
        await asyncio.sleep(0.1)
        assert len(server.open) == MOST_IDLE
        async with asyncio.timeout(10):
            while server.open:
                await asyncio.sleep(0.05)

    play(behave, scenario)


def test_a_loop_of_its_own_has_connections_of_its_own() -> None:
    call = caller()

    for _ in range(3):

        async def scenario(server: FaultServer, call: Call) -> None:
            assert (await call({"url": server.url()})).outcome == "success"

        play(answering(), scenario, call)
        gc.collect()


def test_a_call_that_is_cancelled_leaves_no_connection() -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        calling = asyncio.ensure_future(call({"url": server.url()}))
        while not server.requests:
            await asyncio.sleep(0.01)
        calling.cancel()
        await asyncio.wait((calling,))
        assert calling.cancelled()
        await asyncio.sleep(0.05)
        assert not server.open

    play(hang, scenario)


def test_a_thousand_calls_wait_for_one_slow_server_at_the_same_time() -> None:
    async def behave(connection: Connection, request: Received) -> None:
        await asyncio.sleep(0.5)
        await answering(b'{"ok":true}', headers=JSON)(connection, request)

    async def scenario(server: FaultServer, call: Call) -> None:
        results = await asyncio.gather(*(call({"url": server.url()}) for _ in range(1000)))
        assert {orjson.dumps(result.data["body"]) for result in results} == {b'{"ok":true}'}

    began = time.monotonic()
    play(behave, scenario)

    assert time.monotonic() - began < 15
