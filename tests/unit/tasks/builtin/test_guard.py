"""Where calls may go: addresses, spellings of hosts, the allow-list, and names that lead to many places."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from flow_manager.core.results import TaskError
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.failures import AttemptFailed
from flow_manager.tasks.builtin.guard import MOST_JUDGED, MOST_TRIED, Guard, Resolve, look_up
from flow_manager.tasks.builtin.ranges import internal_range
from flow_manager.tasks.builtin.url import parse_url

PUBLIC = "93.184.216.34"
PUBLIC_TOO = "93.184.216.35"

INTERNAL = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "shared by a carrier"),
    ("100.127.255.255", "shared by a carrier"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("169.254.169.254", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.8", "reserved"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4"),
    ("192.168.0.1", "private"),
    ("198.18.0.1", "benchmark"),
    ("198.19.255.255", "benchmark"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "reserved"),
    ("::8.8.8.8", "reserved"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:0:127.0.0.1", "reserved"),
    ("64:ff9b::127.0.0.1", "loopback"),
    ("64:ff9b::10.0.0.1", "private"),
    ("64:ff9b:1::8.8.8.8", "NAT64 of a network"),
    ("64:ff9b:1:7f00:0:100::", "NAT64 of a network"),
    ("100::1", "reserved"),
    ("2001::1", "reserved"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved"),
    ("2001:2::1", "reserved"),
    ("2001:10::1", "reserved"),
    ("2001:20::1", "reserved"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "6to4"),
    ("2002:a00:1::", "6to4"),
    ("2002:808:808::", "6to4"),
    ("2606:2800:220:1:0:5efe:127.0.0.1", "loopback"),
    ("2606:2800:220:1:200:5efe:192.168.0.1", "private"),
    ("3fff::1", "documentation"),
    ("4000::1", "reserved"),
    ("5f00::1", "reserved"),
    ("fc00::1", "private"),
    ("fd12:3456::1", "private"),
    ("fe80::1", "link-local"),
    ("fe80::1%1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
]

REACHABLE = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2606:2800:220:1:0:5efe:8.8.8.8",
    "2a00:1450:4001::1",
]


def names(**addresses: Sequence[str]) -> Resolve:
    """A resolver that knows these names, with '_' for '.'."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        try:
            return addresses[host.replace(".", "_")]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None

    return resolve


def addresses_of(host: str, resolve: Resolve, *, allow: Sequence[str] = (), port: int = 80) -> list[str]:
    async def ask() -> list[str]:
        guard = Guard(AllowList.parse(allow), resolve)
        return await guard.addresses_of(host, port, asyncio.get_running_loop().time() + 0.2)

    return asyncio.run(ask())


def refusal(host: str, resolve: Resolve, *, allow: Sequence[str] = (), port: int = 80) -> TaskError:
    with pytest.raises(AttemptFailed) as caught:
        addresses_of(host, resolve, allow=allow, port=port)
    return caught.value.error


# -- addresses


@pytest.mark.parametrize(("address", "kind"), INTERNAL)
def test_an_internal_address_is_known_for_what_it_is(address: str, kind: str) -> None:
    assert internal_range(ip_address(address)) == kind


@pytest.mark.parametrize("address", REACHABLE)
def test_an_address_that_everybody_can_reach_is_not_internal(address: str) -> None:
    assert internal_range(ip_address(address)) is None


@pytest.mark.parametrize("address", [address for address, _ in INTERNAL])
def test_a_name_that_leads_to_an_internal_address_is_refused(address: str) -> None:
    error = refusal("shop.example", names(shop_example=[address]))

    assert (error.code, error.retryable) == ("http.blocked", False)
    assert "FLOW_MANAGER_HTTP_ALLOW" in error.message


@pytest.mark.parametrize("address", REACHABLE)
def test_a_name_that_leads_outside_is_connected_to_at_that_address(address: str) -> None:
    assert addresses_of("shop.example", names(shop_example=[address])) == [str(ip_address(address))]


# -- spellings


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.1.",
        "127.0.1",
        "0x7f.1",
        "0X7F.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[::ffff:0x7f.1]",
        "[64:ff9b::7f00:1]",
        "[::]",
        "localhost",
        "LOCALHOST.",
    ],
)
def test_no_spelling_of_this_machine_gets_past_the_guard(host: str) -> None:
    try:
        url = parse_url(f"http://{host}/")
    except ValueError:
        return

    assert refusal(url.host, names(localhost=["127.0.0.1", "::1"])).code == "http.blocked"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost"])
def test_the_resolver_of_the_system_leads_no_spelling_past_the_guard(host: str) -> None:
    assert refusal(host, look_up).code == "http.blocked"


# -- several addresses


@pytest.mark.parametrize("internal", ["10.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_internal_address_among_others_spoils_the_name(internal: str, place: int) -> None:
    addresses = [PUBLIC, PUBLIC_TOO]
    addresses.insert(place, internal)

    assert refusal("shop.example", names(shop_example=addresses)).code == "http.blocked"


def test_of_a_thousand_addresses_only_judged_ones_are_used() -> None:
    many = [f"93.184.{number // 250}.{number % 250 + 1}" for number in range(1000)]

    assert addresses_of("many.example", names(many_example=many)) == many[:MOST_TRIED]
    assert refusal("many.example", names(many_example=[*many[: MOST_JUDGED - 1], "10.0.0.1"])) is not None


def test_every_connection_is_judged_again() -> None:
    answers = iter([[PUBLIC], ["10.0.0.1"]])

    async def flip(host: str, port: int) -> Sequence[str]:
        return next(answers)

    async def scenario() -> None:
        guard = Guard(AllowList(), flip)
        until = asyncio.get_running_loop().time() + 1
        assert await guard.addresses_of("flip.example", 80, until) == [PUBLIC]
        with pytest.raises(AttemptFailed, match="internal"):
            await guard.addresses_of("flip.example", 80, until)

    asyncio.run(scenario())


def test_calls_at_the_same_time_share_one_lookup_and_one_that_gives_up_spoils_nothing() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        await asyncio.sleep(0.05)
        return [PUBLIC]

    async def scenario() -> None:
        guard = Guard(AllowList(), resolve)
        now = asyncio.get_running_loop().time()
        hurried = guard.addresses_of("shop.example", 80, now + 0.01)
        patient = [guard.addresses_of("shop.example", 80, now + 1) for _ in range(100)]
        first, *others = await asyncio.gather(hurried, *patient, return_exceptions=True)
        assert isinstance(first, AttemptFailed)
        assert others == [[PUBLIC]] * 100

    asyncio.run(scenario())

    assert asked == ["shop.example"]


# -- names that lead nowhere


def test_an_unknown_name_is_said_to_be_unknown() -> None:
    error = refusal("nobody.example", names())

    assert (error.code, error.retryable) == ("http.dns", True)
    assert error.message == "the name nobody.example was not resolved: Name or service not known"


def test_a_name_without_addresses_is_said_to_have_none() -> None:
    assert refusal("shop.example", names(shop_example=[])).message == "the name shop.example has no address"


def test_a_resolver_that_does_not_answer_is_not_waited_for() -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(20)
        return []

    error = refusal("slow.example", hang)

    assert (error.code, error.message) == ("http.dns", "the name slow.example was not resolved in time")


# -- the allow-list


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "is_allowed"),
    [
        ("127.0.0.1", "shop.example", "127.0.0.1", 80, True),
        ("127.0.0.1", "shop.example", "127.0.0.2", 80, False),
        ("127.0.0.1", "shop.example", "::ffff:127.0.0.1", 80, True),
        ("127.0.0.1:8080", "shop.example", "127.0.0.1", 8080, True),
        ("127.0.0.1:8080", "shop.example", "127.0.0.1", 80, False),
        ("10.0.0.0/8", "shop.example", "10.9.8.7", 443, True),
        ("10.0.0.0/8", "shop.example", "11.9.8.7", 443, True),
        ("10.0.0.0/8", "shop.example", "192.168.0.1", 443, False),
        ("10.0.0.0/8:443", "shop.example", "10.9.8.7", 443, True),
        ("10.0.0.0/8:443", "shop.example", "10.9.8.7", 80, False),
        ("::1", "shop.example", "::1", 80, True),
        ("[::1]", "shop.example", "::1", 80, True),
        ("[::1]:8080", "shop.example", "::1", 8080, True),
        ("[::1]:8080", "shop.example", "::1", 80, False),
        ("fd00::/8", "shop.example", "fd12::1", 80, True),
        ("0.0.0.0/0", "shop.example", "169.254.169.254", 80, True),
        ("0.0.0.0/0", "shop.example", "::1", 80, False),
        ("shop.internal", "shop.internal", "10.0.0.1", 80, True),
        ("SHOP.internal", "shop.internal", "10.0.0.1", 80, True),
        ("shop.internal:81", "shop.internal", "10.0.0.1", 80, False),
        ("shop.internal", "a.shop.internal", "10.0.0.1", 80, False),
        ("*.shop.internal", "a.shop.internal", "10.0.0.1", 80, True),
        ("*.shop.internal", "b.a.shop.internal", "10.0.0.1", 80, True),
        ("*.shop.internal", "shop.internal", "10.0.0.1", 80, False),
        ("*.shop.internal", "workshop.internal", "10.0.0.1", 80, False),
        ("*.shop.internal:8443", "a.shop.internal", "10.0.0.1", 8443, True),
        ("localhost", "localhost", "127.0.0.1", 80, True),
    ],
)
def test_an_entry_of_the_allow_list_permits_what_it_says(
    entry: str, host: str, address: str, port: int, is_allowed: bool
) -> None:
    resolve = names(**{host.replace(".", "_"): [address]})

    if is_allowed:
        assert addresses_of(host, resolve, allow=[entry], port=port) == [str(ip_address(address))]
    else:
        assert refusal(host, resolve, allow=[entry], port=port).code == "http.blocked"


def test_an_allowed_address_does_not_excuse_another() -> None:
    resolve = names(shop_example=["127.0.0.1", "10.0.0.1"])

    assert refusal("shop.example", resolve, allow=["127.0.0.1"]).code == "http.blocked"


@pytest.mark.parametrize(
    "entry",
    ["", "*", "a b", "10.0.0.1/8", "10.0.0.0/33", "127.1", "0x7f.1", "2130706433", "a:0", "a:65536", "a:b",
     "http://a", "a/b", "*.*.a", "a.*", "-a", "[::1", "::1]:80", "user@a"],
)  # fmt: skip
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="hosts, addresses or networks"):
        AllowList.parse(["127.0.0.1", entry])
