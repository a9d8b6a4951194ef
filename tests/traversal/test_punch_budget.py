"""What a stranger's words can make us send in a hole punch, and who is taken for its peer."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.traversal import Multiaddr, Node, PeerId, RelayLimits
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.events import PunchStep
from testbed.traversal.punch_budget import PunchBudget, PunchLimits

from .nodes import address, nodes, run, wait_event
from .test_nodes import echoed

pytestmark = pytest.mark.timeout(60)


def named(*ips: str) -> list[Multiaddr]:
    return [Multiaddr.from_socket(ip, 1, "quic-v1") for ip in ips]


def test_two_ips_of_each_family_are_tried_and_an_ipv6_prefix_is_one() -> None:
    many = named(*(f"9.9.9.{n}" for n in range(16)), "2a00::1", "2a00::2", "2a01::1", "2a02::1")
    targets = PunchBudget(PunchLimits()).attempt(many).targets
    assert [str(a.ip) for a in targets] == ["9.9.9.0", "9.9.9.1", "2a00::1", "2a00::2", "2a01::1"]


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 30)), max_size=400))
def test_no_schedule_of_attempts_sends_more_than_the_limits(steps: list[tuple[int, float]]) -> None:
    limits = PunchLimits(per_attempt=10, per_party=15, overall=30, window=20.0)
    budget, now, sent = PunchBudget(limits), 0.0, []
    for which, pause in steps:
        now += pause / 100
        [target] = named(f"9.9.9.{which}")
        attempt = budget.attempt([target])
        taken = sum(attempt.take(target, now) for _ in range(20))
        assert taken <= limits.per_attempt
        sent += [(now, which)] * taken
        recent = [who for at, who in sent if at > now - limits.window]
        assert len(recent) <= limits.overall
        assert recent.count(which) <= limits.per_party


async def silent(peer: PeerId, attempt: int, remote: tuple[Multiaddr, ...]) -> None:
    """In place of A's dials."""
    del peer, attempt, remote


class Victim(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.count = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        del data, addr
        self.count += 1


def test_a_stranger_who_names_sixteen_victims_gets_two_of_them_and_a_bounded_number() -> None:
    """B sends to what A names: before, 2182 datagrams went to 16 victims."""
    limits = PunchLimits(per_attempt=40)
    upgrade = UpgradeOptions(punch=limits, reversal_timeout=0, punch_timeout=1.5, attempts=2)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        victims, ways, sockets = [], [], []
        for n in range(16):
            transport, victim = await loop.create_datagram_endpoint(
                Victim, local_addr=(f"127.0.1.{n + 1}", 0)
            )
            victims.append(victim)
            sockets.append(transport)
            host, port = transport.get_extra_info("sockname")
            ways.append(Multiaddr.from_socket(host, port, "quic-v1"))
        options: tuple[dict[str, object], ...]
        options = ({"relay": RelayLimits()}, {}, {"upgrade": upgrade})
        async with nodes("quic", *options) as (hub, evil, target):
            evil.upgrades._own = lambda: tuple(ways)
            evil.upgrades._follow = silent  # type: ignore[method-assign]  # it does not come itself
            held = await target.reserve(address(hub))
            await evil.dial(held.addresses[0])
            await wait_event(target, PunchStep, lambda e: e.step == "failed" and e.attempt == 2)
        for transport in sockets:
            transport.close()
        counts = [v.count for v in victims]
        assert sum(counts) <= 2 * limits.per_attempt
        assert sum(c > 0 for c in counts) <= limits.parties

    run(work, 40)


@contextlib.asynccontextmanager
async def expecting(node: Node, port: int) -> AsyncIterator[None]:
    """The node is in a punch towards a peer at this port, here."""
    with node.host.transports.client_towards((Multiaddr.from_socket("127.0.0.1", port, "tcp"),)):
        yield


def test_a_third_peer_behind_the_same_nat_gets_in_while_a_punch_is_under_way() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, third), expecting(a, 9):
            await third.dial(address(a), timeout=3)
            assert await echoed(third, a.peer, b"not the one") == b"not the one"

    run(work)


@pytest.mark.parametrize("port", ["expected", "another"])
def test_the_punched_peer_is_served_as_a_server_from_whatever_port_it_comes(port: str) -> None:
    """Behind a NAT that maps by destination it does not come from the port that it named."""

    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            number = b.listening()[0].port if port == "expected" else 9
            async with expecting(a, number or 0):
                await b.host.dial_direct(address(a).without_peer(), a.peer, 5, client=False)
                assert await echoed(b, a.peer, b"the one") == b"the one"

    run(work)


def test_a_node_does_not_prove_its_own_second_address_to_a_stranger() -> None:
    """AutoNAT v2: the server dialed itself, from within its own network."""
    from testbed.traversal.aio.autonat_server import AutonatOptions

    from .test_hostile_services import demand

    async def work() -> None:
        with socket.socket() as second:
            second.bind(("127.0.0.2", 0))
            second.listen()
            second.settimeout(0.2)
            host, port = second.getsockname()
            way = Multiaddr.from_socket(host, port, "tcp")
            server = {
                "autonat_server": True,
                "autonat": AutonatOptions(dial_data_wait=0),
                "announce": (str(way),),
            }
            async with nodes("tcp", {}, server) as (evil, target):
                await evil.dial(address(target))
                _, word = await demand(evil, target, (way,))
                assert word.response.status == 101
            with pytest.raises(TimeoutError):
                second.accept()

    run(work)
