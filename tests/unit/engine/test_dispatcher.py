"""The dispatcher on a real store, with a sender that follows a script and a clock moved by hand."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flow_manager.core.definition import Webhook
from flow_manager.core.webhooks import Webhooks
from flow_manager.engine import dispatcher as dispatching
from flow_manager.engine.dispatcher import MOST_AT_ONCE, MOST_TO_ONE, MOST_TRIES, Dispatcher
from flow_manager.engine.signing import signature
from flow_manager.errors import StoreFull
from flow_manager.ports.webhooks import Backlog, Sent
from flow_manager.stores.sqlite.outbox import SqliteOutbox
from tests.support.documents import document, task
from tests.support.engine import Engine, engine

URL = "https://a.example/hook?token=1"
HOOKED = document(task("a"), on_end={"webhooks": [{"url": URL, "secret": "signing"}]})
WALL = 1_700_000_000


@dataclass
class FakeSender:
    """Answers each delivery with the next of `answers`, and then with 204."""

    answers: list[Sent] = field(default_factory=list)
    sent: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """If there is one, an answer waits until it is set."""
    under_way: Counter[str] = field(default_factory=Counter)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        self.sent.append((url, headers, json.loads(body)))
        self.bodies.append(body)
        self.under_way[url] += 1
        if self.gate is not None:
            await self.gate.wait()
        self.under_way[url] -= 1
        return self.answers.pop(0) if self.answers else Sent(204)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.sent]


@dataclass
class Post:
    engine: Engine
    dispatcher: Dispatcher
    sender: FakeSender

    async def look(self) -> None:
        """One look, and all that it sets off."""
        await self.dispatcher.look()
        while self.dispatcher.under_way:
            await asyncio.sleep(0.001)

    async def tell(self, seconds: float = 0.0) -> None:
        self.engine.clock.advance(seconds)
        await self.look()

    @property
    def backlog(self) -> Backlog:
        return self.engine.store.outbox.backlog()


@asynccontextmanager
async def post(
    path: Path, *answers: Sent, secrets: Mapping[str, str] | None = None, chance: float = 1.0
) -> AsyncIterator[Post]:
    """Its loop does not run: a test looks itself."""
    async with engine(path) as running:
        sender = FakeSender(list(answers))
        dispatcher = Dispatcher(
            running.store.outbox,
            sender,
            running.clock,
            {"signing": "a secret"} if secrets is None else secrets,
            lambda: chance,
            lambda: WALL + 0.9,
        )
        yield Post(running, dispatcher, sender)
        await dispatcher.stop(asyncio.Event())


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def test_the_end_of_an_execution_is_told_and_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db") as the:
            execution_id = await the.engine.started(HOOKED)
            await the.look()

            [(url, headers, payload)] = the.sender.sent
            assert (url, payload["event"], payload["execution_id"]) == (URL, "completed", execution_id)
            assert payload["seq"] == the.engine.view(execution_id).last_seq
            assert headers["webhook-id"] == payload["delivery_id"]
            assert headers["webhook-timestamp"] == str(WALL)
            assert the.backlog == Backlog(0, 0)
            assert the.dispatcher.counts["delivered"] == 1

    run(scenario())


def test_the_signature_is_that_of_what_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db") as the:
            await the.engine.started(HOOKED)
            await the.look()

            [(_, headers, _)] = the.sender.sent
            expected = signature(headers["webhook-id"], str(WALL), the.sender.bodies[0], "a secret")
            assert headers["webhook-signature"] == expected

    run(scenario())


def test_what_was_not_taken_is_sent_again_later_and_under_the_same_id(tmp_path: Path) -> None:
    async def scenario() -> None:
        failures = [Sent(500), Sent(0, "there is no connection"), Sent(302)]
        async with post(tmp_path / "x.db", *failures) as the:
            await the.engine.started(HOOKED)
            await the.tell()
            await the.tell(0.9)
            assert len(the.sender.sent) == 1
            await the.tell(0.1)  # 1 s after the first
            await the.tell(2.0)
            await the.tell(3.9)
            assert len(the.sender.sent) == 3
            await the.tell(0.1)  # 4 s after the third

            assert len(the.sender.sent) == 4
            assert len(set(the.sender.ids)) == 1
            assert the.backlog == Backlog(0, 0)

    run(scenario())


def test_waits_are_a_random_share_and_have_a_bound(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db", *[Sent(503)] * (MOST_TRIES - 1), chance=0.5) as the:
            await the.engine.started(HOOKED)
            await the.tell()
            waits = [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 150, 150]
            for number, wait in enumerate(waits, 2):
                await the.tell(wait - 0.01)
                assert len(the.sender.sent) == number - 1
                await the.tell(0.01)
                assert len(the.sender.sent) == number

            assert len(waits) == MOST_TRIES - 1
            assert the.backlog == Backlog(0, 0)

    run(scenario())


def test_after_twelve_tries_it_is_given_up_and_the_doctor_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db", *[Sent(503)] * 20) as the:
            execution_id = await the.engine.started(HOOKED)
            for _ in range(20):
                await the.tell(301)

            assert len(the.sender.sent) == MOST_TRIES
            assert the.backlog == Backlog(0, 1)
            assert [(each.execution_id, each.code) for each in the.engine.store.violations()] == [
                (execution_id, "outbox.parked")
            ]
            assert (the.dispatcher.counts["failed"], the.dispatcher.counts["parked"]) == (MOST_TRIES, 1)

    run(scenario())
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "is given up after 12 tries: the answer has the status 503" in told
    assert "token" not in told


@pytest.mark.parametrize("answer", [Sent(410), Sent(0, "an internal address", is_refused=True)])
def test_what_no_further_try_can_help_is_given_up_at_once(tmp_path: Path, answer: Sent) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db", answer) as the:
            await the.engine.started(HOOKED)
            await the.look()

            assert the.backlog == Backlog(0, 1)

    run(scenario())


def test_without_its_secret_nothing_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db", secrets={}) as the:
            await the.engine.started(HOOKED)
            await the.look()

            assert the.sender.sent == []
            assert the.backlog == Backlog(0, 1)

    run(scenario())


def test_what_one_execution_tells_goes_out_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        webhooks = [{"url": URL, "events": ["waiting", "completed"]}]
        asks = document(task("signal", {"name": "paid"}), on_end={"webhooks": webhooks})
        async with post(tmp_path / "x.db", Sent(500)) as the:
            execution_id = await the.engine.started(asks)
            await the.tell()
            await the.engine.send(execution_id, "paid")
            await the.engine.go_on()
            await the.tell(0.5)
            assert len(the.sender.sent) == 1
            await the.tell(0.5)
            await the.tell()

            assert [payload["event"] for _, _, payload in the.sender.sent] == [
                "waiting",
                "waiting",
                "completed",
            ]

    run(scenario())


def test_a_destination_that_takes_its_time_has_a_few_places_and_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        other = "https://b.example/"
        elsewhere = document(task("a"), on_end={"webhooks": [{"url": other}]})
        async with post(tmp_path / "x.db") as the:
            for _ in range(MOST_TO_ONE + 2):
                await the.engine.started(HOOKED)
            the.sender.gate = asyncio.Event()
            await the.dispatcher.look()
            await the.engine.started(elsewhere)
            await the.dispatcher.look()
            await asyncio.sleep(0.01)

            assert the.sender.under_way == {URL: MOST_TO_ONE, other: 1}
            the.sender.gate.set()
            await the.look()
            await the.look()
            assert the.backlog == Backlog(0, 0)

    run(scenario())


def test_all_destinations_have_their_turn(tmp_path: Path) -> None:
    async def scenario() -> None:
        urls = [f"https://{number:03}.example/" for number in range(MOST_AT_ONCE + 10)]
        async with post(tmp_path / "x.db", chance=0.0) as the:  # what fails is due again at once
            the.engine.orchestrator.webhooks = Webhooks([Webhook(url) for url in urls])
            for _ in range(2):
                await the.engine.started(document(task("a")))
            the.sender.answers = [Sent(500)] * 1_000
            for _ in range(6):
                await the.look()

            assert {url for url, _, _ in the.sender.sent} == set(urls)

    run(scenario())


def test_a_store_that_does_not_take_the_outcome_leaves_it_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise StoreFull("no space")

    async def scenario() -> None:
        async with post(tmp_path / "x.db") as the:
            await the.engine.started(HOOKED)
            with monkeypatch.context() as patched:
                patched.setattr(SqliteOutbox, "delivered", refuse)
                await the.tell()
            await the.tell(59.9)
            assert len(the.sender.sent) == 1
            await the.tell(0.1)

            assert len(the.sender.ids) == 2
            assert len(set(the.sender.ids)) == 1
            assert the.backlog == Backlog(0, 0)

    run(scenario())


def test_the_loop_sends_as_soon_as_it_is_nudged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db") as the:
            the.engine.orchestrator.dispatcher = the.dispatcher
            the.engine.orchestrator.run_loops()
            await asyncio.sleep(0.01)  # it has looked, and naps
            began = asyncio.get_running_loop().time()
            await the.engine.started(HOOKED)
            while not the.sender.sent:
                await asyncio.sleep(0.001)

            assert asyncio.get_running_loop().time() - began < 0.9

    run(scenario())


def test_a_stop_sends_what_is_due_and_gives_back_what_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "FLUSH", 0.1)

    async def scenario() -> None:
        slow = document(task("a"), on_end={"webhooks": [{"url": "https://slow.example/"}]})
        async with post(tmp_path / "x.db") as the:
            await the.engine.started(HOOKED)
            await the.dispatcher.stop(asyncio.Event())
            assert len(the.sender.sent) == 1

            await the.engine.started(slow)
            the.sender.gate = asyncio.Event()
            await the.dispatcher.stop(asyncio.Event())

            assert len(the.sender.sent) == 2
            assert the.backlog == Backlog(1, 0)
            assert list(the.engine.store.outbox.due(the.engine.clock.now(), 9)) == ["https://slow.example/"]

    run(scenario())


def test_whoever_is_in_a_hurry_waits_for_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with post(tmp_path / "x.db") as the:
            await the.engine.started(HOOKED)
            hurry = asyncio.Event()
            hurry.set()
            await the.dispatcher.stop(hurry)

            assert the.sender.sent == []
            assert the.backlog == Backlog(1, 0)

    run(scenario())
