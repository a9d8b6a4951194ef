"""The wire against rust-libp2p, in both directions, over TCP (Noise, Yamux) and QUIC.

Needs cargo and the crates of interop/rust (`cargo fetch` there, once).
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from testbed.traversal import RelayLimits

from .nodes import LISTEN, address, nodes, run
from .test_nodes import STAY_RELAYED, echoed

SOURCE = Path(__file__).parent / "interop" / "rust"
BUILD = Path(os.environ.get("CARGO_TARGET_DIR", SOURCE.parents[3] / "build" / "rust"))
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo: wire NOT checked"),
]


@pytest.fixture(scope="session")
def binary() -> Path:
    environment = os.environ | {"CARGO_TARGET_DIR": str(BUILD), "CARGO_BUILD_JOBS": "1"}
    command = ["nice", "cargo", "build", "--offline", "--locked"]
    built = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, f"{built.stderr}\nremedy: cd {SOURCE} && cargo fetch"
    return BUILD / "debug" / "interop"


class RustPeer:
    """The program in interop/rust."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._seen: list[dict[str, Any]] = []
        self.address = ""

    def say(self, word: str, addr: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word} {addr}\n".encode())

    async def event(self, key: str) -> dict[str, Any]:
        """The first event with this key."""
        assert self._process.stdout
        while not (found := [e for e in self._seen if key in e]):
            line = await self._process.stdout.readline()
            assert line, f"the program ended: {self._seen}"
            self._seen.append(json.loads(line))
            assert "error" not in self._seen[-1], self._seen[-1]
        return found[0]


@contextlib.asynccontextmanager
async def rust_peer(binary: Path, transport: str) -> AsyncIterator[RustPeer]:
    process = await asyncio.create_subprocess_exec(
        binary, LISTEN[transport],
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    peer = RustPeer(process)
    try:
        peer.address = (await peer.event("addr"))["addr"]
        yield peer
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()


@BOTH
def test_we_dial_rust_and_both_identify_and_ping(transport: str, binary: Path) -> None:
    async def work() -> None:
        async with rust_peer(binary, transport) as rust, nodes(transport, {}) as (ours,):
            connection = await ours.dial(rust.address)
            await ours.identify.wait(connection)
            assert ours.identify.peers[connection.peer].observed == ours.listening()[0]
            assert await ours.ping(connection.peer) < 1
            assert (await rust.event("identify"))["identify"] == "testbed-traversal/0.1"
            await rust.event("ping_us")

    run(work, 60)


@BOTH
def test_rust_dials_us_identifies_pings_and_reserves(transport: str, binary: Path) -> None:
    async def work() -> None:
        options = {"relay": RelayLimits(duration=77, data=8888)}
        async with rust_peer(binary, transport) as rust, nodes(transport, options) as (ours,):
            rust.say("dial", address(ours))
            told = await rust.event("identify")
            assert set(told["protocols"]) == set(ours.host.handlers)
            await rust.event("ping_us")
            rust.say("reserve", address(ours))
            assert (await rust.event("reserved"))["reserved"] == [77, 8888]

    run(work, 60)


@BOTH
def test_two_of_us_meet_through_a_rust_relay(transport: str, binary: Path) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        async with (
            rust_peer(binary, transport) as rust,
            nodes(transport, stay, stay) as (a, b),
        ):
            held = await b.reserve(rust.address)
            assert (await a.dial(held.addresses[0])).relayed
            assert await echoed(a, b.peer, b"through rust") == b"through rust"

    run(work, 60)
