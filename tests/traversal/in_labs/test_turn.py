"""Our TURN client with coturn: what is relayed, what is refused, and that it ends."""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import pytest
from aioice import stun

from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab
from testbed.model.presets import home_and_public
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.stacks.coturn import PORT, Coturn, coturn
from testbed.studies.autonat.nodes import Remote
from testbed.traversal.aio.turn import Refusal, TurnAllocation, TurnError, allocate
from testbed.traversal.errors import ConnectionClosedError, DeadlineError

Transport = Literal["udp", "tcp"]
Work = Callable[[tuple[str, int], tuple[str, int]], Awaitable[Any]]
ECHO = 7000
QUIET = 0.5  # seconds in which what is to be dropped would have come: twelve ways through the lab
USER, PASSWORD = "lab", "lab-password"
BOTH = pytest.mark.parametrize("transport", ["udp", "tcp"])


class _Echo(asyncio.DatagramProtocol):
    """Answers with what it got and from whom; also speaks unasked, to whom it is told."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(json.dumps([data.decode(), *addr]).encode(), addr)


async def _echo(ip: str) -> int:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(_Echo, local_addr=(ip, ECHO))
    os.write(1, b"true\n")
    await asyncio.Event().wait()
    return 0


@contextlib.contextmanager
def _lab(config: Callable[[Lab], Coturn] | None = None) -> Iterator[Lab]:
    steps = plan(home_and_public("symmetric"), catalogue())
    with Namespaces().start(steps) as lab, ExitStack() as stack:
        addresses = lab.plan.addresses["server"]
        made = config(lab) if config else Coturn(addresses)
        stack.enter_context(coturn(lab, "server", made))
        peer = lab.spawn("b", lambda: asyncio.run(_echo(str(lab.plan.address("b")))))
        stack.callback(peer.kill)
        Remote("b", peer).answer()
        yield lab


def _with(*options: str, ports: tuple[int, int] = (49152, 49251)) -> Callable[[Lab], Coturn]:
    return lambda lab: Coturn(lab.plan.addresses["server"], options=options, ports=ports)


def _inside(lab: Lab, work: Work) -> Any:
    """What ``work`` gives, run in the LAN's host."""
    server = (str(lab.plan.address("server")), PORT)
    peer = (str(lab.plan.address("b")), ECHO)

    async def run() -> int:
        os.write(1, (json.dumps(await work(server, peer)) + "\n").encode())
        return 0

    process = lab.spawn("a", lambda: asyncio.run(run()))
    try:
        return Remote("a", process).answer()
    finally:
        process.kill()


async def _heard(allocation: TurnAllocation) -> Any:
    """The peer's words, None if there are none."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(QUIET):
            data, _ = await allocation.receive()
            return json.loads(data)
    return None


@BOTH
def test_a_permitted_peer_is_reached_from_the_relayed_address(transport: Transport) -> None:
    async def work(server: tuple[str, int], peer: tuple[str, int]) -> Any:
        async with allocate(server, USER, PASSWORD, transport=transport) as allocation:
            await allocation.permit(peer[0])
            await allocation.send(b"indication", peer)
            by_indication = await _heard(allocation)
            await allocation.bind(peer)
            await _heard(allocation)  # what bound the channel was an empty datagram
            await allocation.send(b"channel", peer)
            return [by_indication, await _heard(allocation), allocation.relayed, allocation.mapped]

    with _lab() as lab:
        first, second, relayed, mapped = _inside(lab, work)
        assert first == ["indication", *relayed]
        assert second == ["channel", *relayed]
        assert relayed[0] == str(lab.plan.address("server"))
        assert mapped[0] == str(lab.plan.address("nat-a"))


@BOTH
def test_without_a_permission_nothing_passes(transport: Transport) -> None:
    async def work(server: tuple[str, int], peer: tuple[str, int]) -> Any:
        async with allocate(server, USER, PASSWORD, transport=transport) as allocation:
            await allocation.send(b"unpermitted", peer)
            before = await _heard(allocation)
            await allocation.permit(peer[0])
            await allocation.send(b"permitted", peer)
            return [before, await _heard(allocation)]

    with _lab() as lab:
        before, after = _inside(lab, work)
    assert before is None
    assert after[0] == "permitted"


def test_what_is_given_up_is_gone() -> None:
    async def work(server: tuple[str, int], peer: tuple[str, int]) -> Any:
        async with allocate(server, USER, PASSWORD, patience=1.0) as allocation:
            await allocation.permit(peer[0])
            await allocation.send(b"in time", peer)
            assert await _heard(allocation)
            granted = await allocation.refresh(900)
            ended = await allocation.refresh(0)
            async with asyncio.timeout(10):  # coturn 4.6 goes on for a second or so
                while True:
                    await allocation.send(b"too late", peer)
                    if await _heard(allocation) is None:
                        return [granted, ended]

    with _lab() as lab:
        assert _inside(lab, work) == [900, 0]


def test_a_stale_nonce_is_renewed_without_a_word() -> None:
    async def work(server: tuple[str, int], peer: tuple[str, int]) -> Any:
        async with allocate(server, USER, PASSWORD) as allocation:
            old = allocation._client.nonce
            while allocation._client.nonce == old:  # the server tells by 438, after a second
                assert await allocation.refresh(600)
                await asyncio.sleep(0.2)
            await allocation.permit(peer[0])
            return True

    with _lab(_with("--stale-nonce=1")) as lab:
        assert _inside(lab, work)


async def _refusal(work: Awaitable[Any]) -> int | None:
    try:
        await work
    except TurnError as error:
        return error.refusal
    return None


async def _open(server: tuple[str, int], password: str = PASSWORD) -> None:
    async with allocate(server, USER, password):
        pass


def test_a_wrong_password_is_refused() -> None:
    with _lab() as lab:
        refused = _inside(lab, lambda server, _: _refusal(_open(server, "wrong")))
    assert refused == Refusal.UNAUTHENTICATED


def test_an_address_that_the_server_denies_is_forbidden() -> None:
    async def work(server: tuple[str, int], _: tuple[str, int]) -> Any:
        async with allocate(server, USER, PASSWORD) as allocation:
            return await _refusal(allocation.permit("10.0.0.9"))

    with _lab() as lab:
        assert _inside(lab, work) == Refusal.FORBIDDEN


@pytest.mark.parametrize(
    ("config", "refusal"),
    [
        (_with("--user-quota=2"), Refusal.ALLOCATION_QUOTA_REACHED),
        (_with(ports=(49152, 49153)), Refusal.INSUFFICIENT_CAPACITY),
    ],
    ids=["quota", "ports"],
)
def test_more_allocations_than_there_are_to_be_had(
    config: Callable[[Lab], Coturn], refusal: Refusal
) -> None:
    async def work(server: tuple[str, int], _: tuple[str, int]) -> Any:
        async with contextlib.AsyncExitStack() as stack:
            for _attempt in range(8):
                taken = stack.enter_async_context(allocate(server, USER, PASSWORD))
                if (refused := await _refusal(taken)) is not None:
                    return refused
            return None

    with _lab(config) as lab:
        assert _inside(lab, work) == refusal


def test_requests_that_make_no_sense_have_their_own_refusals() -> None:
    async def work(server: tuple[str, int], peer: tuple[str, int]) -> Any:
        async with allocate(server, USER, PASSWORD, patience=1.0) as allocation:
            again = stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST)
            again.attributes["REQUESTED-TRANSPORT"] = 0x11000000
            channel = stun.Message(stun.Method.CHANNEL_BIND, stun.Class.REQUEST)
            channel.attributes |= {"CHANNEL-NUMBER": 0x1000, "XOR-PEER-ADDRESS": peer}
            refused = [await _refusal(allocation._ask(m)) for m in (again, channel)]
            allocation._client.username = "somebody"
            return [*refused, await _refusal(allocation.refresh(600))]

    with _lab() as lab:
        assert _inside(lab, work) == [
            Refusal.ALLOCATION_MISMATCH,
            Refusal.BAD_REQUEST,
            Refusal.WRONG_CREDENTIALS,
        ]


@BOTH
def test_a_server_that_is_not_there_costs_the_patience_and_no_more(transport: Transport) -> None:
    async def work(_: tuple[str, int], peer: tuple[str, int]) -> Any:
        try:
            async with allocate((peer[0], 9), USER, PASSWORD, transport=transport, patience=0.3):
                return "allocated"
        except (DeadlineError, ConnectionClosedError) as error:
            return str(error)

    with _lab() as lab:
        said = _inside(lab, work)
    assert "no answer to Allocate" in said or "Connect call failed" in said
