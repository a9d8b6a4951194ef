"""What secures TCP, and WebSocket, against the other stacks in both directions.

Needs what the programs of interop/ are built from; the first run builds them, unless
`tests.traversal.interop.build` did so before.
"""

import ssl
from pathlib import Path

import pytest

from testbed.traversal import WebSocketOptions
from testbed.traversal.security import NOISE, TLS

from .interop.build import GO, JS, RUST, Source
from .interop.peer import built_or_skipped, foreign
from .nodes import address, nodes, run
from .test_nodes import echoed
from .web_authority import Authority, make_authority

pytestmark = pytest.mark.timeout(900)
STACKS = {"go": GO, "js": JS, "rust": RUST}
WEB = ("go", "js")
ALONE = {NOISE: "noise", TLS: "tls"}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("interop-authority"))


def built(stack: str) -> Path:
    source: Source = STACKS[stack]
    return built_or_skipped(source)


def only(stack: str, protocol: str) -> tuple[str, ...]:
    """Flags by which the program speaks this protocol alone."""
    if stack == "rust":
        return ("-tls",) if protocol == TLS else ()
    return ("-security", ALONE[protocol])


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("protocol", [NOISE, TLS])
def test_we_dial_one_who_speaks_one_protocol(stack: str, protocol: str) -> None:
    """We propose both: the one of two that it lacks costs a dial, no more."""

    async def work() -> None:
        program = built(stack)
        for order in ((NOISE, TLS), (TLS, NOISE)):
            async with (
                foreign(program, "tcp", *only(stack, protocol)) as other,
                nodes("tcp", {"security": order}) as (ours,),
            ):
                connection = await ours.dial(other.addresses[0])
                assert connection.security == protocol
                data = bytes(range(256)) * 1200
                assert await echoed(ours, connection.peer, data) == data

    run(work, 60)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("protocol", [NOISE, TLS])
def test_one_who_speaks_one_protocol_dials_us(stack: str, protocol: str) -> None:
    async def work() -> None:
        program = built(stack)
        async with (
            foreign(program, "tcp", *only(stack, protocol)) as other,
            nodes("tcp", {}) as (ours,),
        ):
            here = str(address(ours))
            await other.ask("connect", here)
            assert {c.security for c in ours.host.connections} == {protocol}
            assert await other.ask("echo", here, bytes=300_000) == {"bytes": 300_000, "equal": True}

    run(work, 60)


@pytest.mark.parametrize("stack", WEB)
@pytest.mark.parametrize("protocol", [NOISE, TLS])
def test_with_both_offered_the_other_says_what_we_say(stack: str, protocol: str) -> None:
    async def work() -> None:
        program = built(stack)
        async with (
            foreign(program, "tcp") as other,
            nodes("tcp", {"security": (protocol,)}) as (ours,),
        ):
            here = str(address(ours))
            told = await other.ask("connect", here)
            assert told["security"] == [protocol]

    run(work, 60)


def flags(kind: str, authority: Authority) -> tuple[str, ...]:
    return ("-authority", str(authority.folder)) if kind == "wss" else ()


def trusting(authority: Authority) -> dict[str, WebSocketOptions]:
    return {"websocket": WebSocketOptions(authority.certified, authority.trusted)}


@pytest.mark.parametrize("stack", WEB)
@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_we_dial_over_websocket(stack: str, kind: str, authority: Authority) -> None:
    async def work() -> None:
        program = built(stack)
        async with (
            foreign(program, kind, *flags(kind, authority)) as other,
            nodes("tcp", trusting(authority)) as (ours,),
        ):
            connection = await ours.dial(other.addresses[0])
            assert connection.transport == kind
            await ours.identify.wait(connection)
            assert "/ipfs/ping/1.0.0" in ours.identify.peers[connection.peer].protocols
            data = bytes(range(256)) * 4000
            assert await echoed(ours, connection.peer, data) == data
            await connection.close()

    run(work, 60)


@pytest.mark.parametrize("stack", WEB)
@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_we_are_dialed_over_websocket(stack: str, kind: str, authority: Authority) -> None:
    async def work() -> None:
        program = built(stack)
        believes = {"NODE_EXTRA_CA_CERTS": str(authority.folder / "ca.pem")}
        async with (
            foreign(program, "tcp", *flags(kind, authority), **believes) as other,
            nodes(kind, trusting(authority)) as (ours,),
        ):
            here = str(address(ours))
            told = await other.ask("connect", here)
            assert all(f"/{kind[:2]}" in one for one in told["connections"])
            assert (await other.ask("ping", here))["rtt_us"] > 0
            told = await other.ask("echo", here, bytes=700_000)
            assert told == {"bytes": 700_000, "equal": True}
            assert {c.transport for c in ours.host.connections} == {kind}

    run(work, 60)


@pytest.mark.parametrize("stack", WEB)
def test_a_certificate_that_no_authority_of_ours_signed_is_refused(
    stack: str, authority: Authority
) -> None:
    async def work() -> None:
        program = built(stack)
        options = {"websocket": WebSocketOptions(client=ssl.create_default_context())}
        async with (
            foreign(program, "wss", *flags("wss", authority)) as other,
            nodes("tcp", options) as (ours,),
        ):
            with pytest.raises(OSError, match="certificate"):
                await ours.dial(other.addresses[0])

    run(work, 60)
