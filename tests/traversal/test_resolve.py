"""Addresses with names: which IPs are dialed for them, and how they fail."""

import pytest

from testbed.traversal import DialError, DialFailure, Multiaddr, RelayLimits
from testbed.traversal.aio.resolve import resolve

from .nodes import address, nodes, run
from .test_nodes import echoed

pytestmark = pytest.mark.timeout(60)
PEER = "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"
OTHER = "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE"
RECORDS = {
    "_dnsaddr.all.test": [
        f"dnsaddr=/ip4/9.9.9.9/tcp/1/p2p/{PEER}",
        f"dnsaddr=/ip4/9.9.9.8/tcp/1/p2p/{OTHER}",
        "v=spf1 nothing of ours", "dnsaddr=no address", f"dnsaddr=/dnsaddr/more.test/p2p/{PEER}",
    ],
    "_dnsaddr.more.test": [f"dnsaddr=/ip6/2a00::1/udp/1/quic-v1/p2p/{PEER}"],
    "_dnsaddr.round.test": ["dnsaddr=/dnsaddr/round.test"],
    "_dnsaddr.many.test": [f"dnsaddr=/ip4/9.9.9.9/tcp/{n}" for n in range(1, 999)],
}  # fmt: skip


async def lookup(name: str) -> list[str]:
    return RECORDS.get(name, [])


def resolved(text: str) -> list[str]:
    found: list[str] = []

    async def work() -> None:
        found.extend(map(str, await resolve(Multiaddr.parse(text), lookup)))

    run(work)
    return found


def test_records_that_end_as_the_address_are_taken_and_followed() -> None:
    assert resolved(f"/dnsaddr/all.test/p2p/{PEER}") == [
        f"/ip4/9.9.9.9/tcp/1/p2p/{PEER}", f"/ip6/2a00::1/udp/1/quic-v1/p2p/{PEER}",
    ]  # fmt: skip


def test_of_many_records_few_are_taken() -> None:
    assert len(resolved("/dnsaddr/many.test")) == 16


@pytest.mark.parametrize("name", ["round.test", "nobody.test"])
def test_records_that_lead_nowhere_are_a_dial_that_failed(name: str) -> None:
    with pytest.raises(DialError):
        resolved(f"/dnsaddr/{name}")


def test_an_address_without_a_name_is_itself() -> None:
    assert resolved("/ip4/9.9.9.9/tcp/1") == ["/ip4/9.9.9.9/tcp/1"]


@pytest.mark.parametrize("kind", ["dns", "dns4"])
def test_a_name_is_dialed_by_its_ip(kind: str) -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            way = f"/{kind}/localhost/tcp/{address(b).port}/p2p/{b.peer}"
            assert (await a.dial(way)).remote.ip is not None
            assert await echoed(a, b.peer, b"by name") == b"by name"

    run(work)


def test_a_circuit_of_a_relay_with_a_name_is_dialed() -> None:
    from .test_nodes import STAY_RELAYED

    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        async with nodes("tcp", {"relay": RelayLimits()}, stay, stay) as (hub, a, b):
            await b.reserve(address(hub))
            way = f"/dns4/localhost/tcp/{address(hub).port}/p2p/{hub.peer}/p2p-circuit/p2p/{b.peer}"
            assert (await a.dial(way)).relayed

    run(work)


def test_a_dnsaddr_without_a_lookup_says_what_is_lacking() -> None:
    async def work() -> None:
        async with nodes("tcp", {}) as (a,):
            with pytest.raises(DialError, match="lookup_txt") as caught:
                await a.dial(f"/dnsaddr/all.test/p2p/{PEER}")
            assert caught.value.failure is DialFailure.UNSUPPORTED

    run(work)
