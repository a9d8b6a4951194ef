"""Peers that cheat, each in one way: changes that both ends of a stack make before they start."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from testbed.lab import kernel
from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Event,
    FailureClass,
    IceParameters,
    Mode,
    Offer,
    Role,
)
from testbed.model.contract import Path as Way
from testbed.stacks import session
from testbed.stacks.punch_udp import UdpPuncher
from testbed.stacks.session import PeerFailure, now, sleep_until
from testbed.stacks.wire import PAYLOAD_LIMIT, Kind, Speaker

Change = Callable[[], None]
STRANGER = ("29.0.0.250", 9)  # a public address that nobody has
PATIENCE = 5.0  # seconds in which one end waits for the other


def dials(how: Callable[[Any, Dial], Awaitable[Event]]) -> Change:
    """The dial is made in another way."""

    def change() -> None:
        UdpPuncher.dial = how  # type: ignore[method-assign, assignment]

    return change


def gathers(how: Callable[[Any, Configure, Any], Awaitable[Offer]]) -> Change:
    """What is offered is found in another way."""

    def change() -> None:
        UdpPuncher.gather = how  # type: ignore[method-assign, assignment]

    return change


honest_dial, honest_gather = UdpPuncher.dial, UdpPuncher.gather


# -- who does not try --------------------------------------------------------------


async def denies_its_answer(self: Any, configure: Configure, emit: Any) -> Offer:
    """STUN answered, and the peer says that it did not."""
    await honest_gather(self, configure, emit)
    raise PeerFailure(FailureClass.GATHERING, "no answer from the STUN server")


async def asks_nobody(self: Any, configure: Configure, _emit: Any) -> Offer:
    self._configure = configure
    await self._bind(configure.port)
    raise PeerFailure(FailureClass.GATHERING, "no answer from the STUN server")


async def gives_up(_self: Any, dial: Dial) -> Event:
    await sleep_until(dial.start_at)
    raise PeerFailure(FailureClass.TIMEOUT, "it is too far")


async def sends_a_byte_to_a_stranger(self: Any, dial: Dial) -> Event:
    await sleep_until(dial.start_at)
    self._transports[0].sendto(b"x", STRANGER)
    raise PeerFailure(FailureClass.TIMEOUT, "it is too far")


def sends(
    what: Callable[[Any, int], bytes], rounds: int, *, further: int = 0
) -> Callable[[Any, Dial], Awaitable[Event]]:
    """So many times what is no probe, or not to where the other end is."""

    async def dial(self: Any, told: Dial) -> Event:
        await sleep_until(told.start_at)
        target = told.remote.addresses[0]
        for number in range(rounds):
            data = what(self._speaker, number)
            self._transports[0].sendto(data, (str(target.address), target.port + further))
            await asyncio.sleep(0.05)
        raise PeerFailure(FailureClass.TIMEOUT, "no answer")

    return dial


def probe(speaker: Speaker, number: int) -> bytes:
    return speaker.say(Kind.PROBE, number)


def noise(_speaker: Speaker, _number: int) -> bytes:
    return os.urandom(28)


def in_silence_too() -> None:
    """Punching is off, and both punch."""

    async def dial(self: Any, told: Dial) -> Event:
        mode = self._configure.options.model_copy(update={"mode": Mode.PUNCH})
        self._configure = self._configure.model_copy(update={"options": mode})
        return await honest_dial(self, told)

    UdpPuncher.dial = dial  # type: ignore[method-assign]


# -- who says what is not so -------------------------------------------------------


async def _connected(self: Any, dial: Dial) -> Connected:
    """As if both directions worked."""
    await sleep_until(dial.start_at)
    await asyncio.sleep(0.05)
    remote = dial.remote.addresses[0]
    return Connected(at=now(), local=self._local(), remote=remote, path=Way.DIRECT)


def pretends(channel: Callable[[Any, int], Awaitable[int]] | None = None) -> Change:
    """Both are connected, without a packet; the echo goes by ``channel``, if by anything."""

    async def all_of(_self: Any, count: int) -> int:
        return count

    def change() -> None:
        UdpPuncher.dial = _connected  # type: ignore[method-assign, assignment]
        UdpPuncher.echo = channel or all_of  # type: ignore[method-assign, assignment]

    return change


def by_files(place: str) -> Change:
    """The echo goes through files of a folder that both ends see."""

    def named(self: Any, way: str) -> Path:
        return Path(place, f"cheat-{self._configure.session}-{os.getppid()}-{way}")

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            self.returning = asyncio.create_task(back(self))
        return await _connected(self, told)

    async def back(self: Any) -> None:
        while not (there := named(self, "there")).exists():
            await asyncio.sleep(0.005)
        there.rename(named(self, "back"))

    async def echo(self: Any, count: int) -> int:
        draft = named(self, "draft")
        draft.write_bytes(random.Random(self._configure.seed).randbytes(count))
        draft.rename(named(self, "there"))
        end = time.monotonic() + PATIENCE
        while not (came := named(self, "back")).exists() and time.monotonic() < end:
            await asyncio.sleep(0.005)
        size = came.stat().st_size
        came.unlink()
        return size

    def change() -> None:
        UdpPuncher.dial, UdpPuncher.echo = dial, echo  # type: ignore[method-assign]

    return change


def by_socket(folder: Path) -> Change:
    """The echo goes through a socket of the machine."""
    path = str(folder / "s")

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:

            async def back(reader: Any, writer: Any) -> None:
                while data := await reader.read(65536):
                    writer.write(data)

            self.server = await asyncio.start_unix_server(back, path)
        return await _connected(self, told)

    async def echo(_self: Any, count: int) -> int:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(bytes(count))
        return len(await reader.readexactly(count))

    def change() -> None:
        UdpPuncher.dial, UdpPuncher.echo = dial, echo  # type: ignore[method-assign]

    return change


def by_the_offer() -> None:
    """The payload goes within what the harness carries."""

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        offer = await honest_gather(self, configure, emit)
        payload = random.Random(configure.seed).randbytes(8000).hex()
        return offer.model_copy(
            update={"ice": IceParameters(ufrag=payload, pwd=payload, candidates=())}
        )

    UdpPuncher.gather = gather  # type: ignore[method-assign]
    pretends()()


def lies_of_time() -> None:
    """Connected before the common start."""

    async def dial(self: Any, told: Dial) -> Event:
        event = await honest_dial(self, told)
        return event.model_copy(update={"at": told.start_at - 1_000_000_000})

    UdpPuncher.dial = dial  # type: ignore[method-assign]


def one_answers_for_both() -> None:
    """The dialer is connected alone, and says that all came back."""

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.DIALER:
            return await _connected(self, told)
        return await honest_dial(self, told)

    async def echo(_self: Any, count: int) -> int:
        return count

    UdpPuncher.dial, UdpPuncher.echo = dial, echo  # type: ignore[method-assign]


def calls_it_relayed() -> None:
    said = session._Session.emit

    def emit(self: session._Session, event: Event) -> None:
        if isinstance(event, Connected):
            event = event.model_copy(update={"path": Way.RELAYED})
        said(self, event)

    session._Session.emit = emit  # type: ignore[method-assign]


# -- who forges --------------------------------------------------------------------


def hairpins(*, to: tuple[str, int] | None) -> Change:
    """Each end sends its part to ``to``, and the other's part to itself.

    None: to a port of the other end's NAT at which nobody is.

    What either says is known to both, as it follows from the seed.
    """

    async def dial(self: Any, told: Dial) -> Event:
        own = self.offered.addresses[0].pair
        await self._bind(0)  # from which the hairpinned packets come
        address, port = told.remote.addresses[0].pair
        target = to or (address, port + 1000)
        if self._configure.role is Role.LISTENER:
            self.forging = asyncio.create_task(forge(self, own, target, Kind.BACK, Kind.DATA))
        else:
            self.ends = own, target
        return await _connected(self, told)

    async def forge(self: Any, own: Any, target: Any, mine: Kind, theirs: Kind) -> None:
        other = Role.LISTENER if self._configure.role is Role.DIALER else Role.DIALER
        theirs_say = Speaker(other, bytes.fromhex(self._configure.session))
        payload = random.Random(self._configure.seed).randbytes(16_384)
        for _ in range(10):
            for number, at in enumerate(range(0, len(payload), PAYLOAD_LIMIT)):
                part = payload[at : at + PAYLOAD_LIMIT]
                self._transports[0].sendto(self._speaker.say(mine, number, part), target)
                self._transports[1].sendto(theirs_say.say(theirs, number, part), own)
            await asyncio.sleep(0.05)

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        self.offered = await honest_gather(self, configure, emit)
        return self.offered  # type: ignore[no-any-return]

    async def echo(self: Any, count: int) -> int:
        await forge(self, *self.ends, Kind.DATA, Kind.BACK)
        return count

    def change() -> None:
        UdpPuncher.gather = gather  # type: ignore[method-assign]
        UdpPuncher.dial, UdpPuncher.echo = dial, echo  # type: ignore[method-assign]

    return change


# -- who changes the lab -----------------------------------------------------------


def in_routers(*command: str) -> None:
    """Run ``command`` in each router, whose network is open to whoever sees the harness's files."""
    for link in Path(f"/proc/{os.getppid()}/fd").iterdir():
        with contextlib.suppress(OSError):
            if not str(link.readlink()).startswith("net:["):
                continue
            descriptor = os.open(link, os.O_RDONLY)
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    kernel.setns(descriptor, kernel.CLONE_NEWNET)
                    if "wan" in dict(map(reversed, socket.if_nameindex())):  # type: ignore[arg-type]
                        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                os._exit(0)
            os.waitpid(child, 0)
            os.close(descriptor)


def changing_routers(*commands: str) -> Change:
    """The listener does so when it is to dial."""

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            for words in commands:
                in_routers(*words.split())
        return await honest_dial(self, told)

    return dials(dial)


def by_a_wire(folder: Path, *, left: bool) -> Change:
    """The echo goes by a wire that the dialer lays into the listener's network."""
    told = folder / "listener"

    async def dial(self: Any, command: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            told.with_suffix(".draft").write_text(str(os.getpid()))
            told.with_suffix(".draft").rename(told)
            while not (folder / "laid").exists():
                await asyncio.sleep(0.005)
            _shell("ip addr add 192.0.2.2/24 dev cheat1", "ip link set cheat1 up")
            self.server = await asyncio.start_server(_back, "192.0.2.2", 5000)
        else:
            while not told.exists():
                await asyncio.sleep(0.005)
            _shell(
                f"ip link add cheat0 type veth peer name cheat1 netns {told.read_text()}",
                "ip addr add 192.0.2.1/24 dev cheat0",
                "ip link set cheat0 up",
            )
            (folder / "laid").touch()
        return await _connected(self, command)

    async def echo(_self: Any, count: int) -> int:
        reader, writer = await asyncio.open_connection("192.0.2.2", 5000)
        writer.write(bytes(count))
        size = len(await reader.readexactly(count))
        if not left:
            _shell("ip link del cheat0")
        return size

    def change() -> None:
        UdpPuncher.dial, UdpPuncher.echo = dial, echo  # type: ignore[method-assign]

    return change


async def _back(reader: Any, writer: Any) -> None:
    while data := await reader.read(65536):
        writer.write(data)


def _shell(*commands: str) -> None:
    for words in commands:
        subprocess.run(words.split(), check=True)


def siblings(name: str) -> list[int]:
    """The processes of this cell's harness that are called so."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit():
                continue
            parent = (entry / "stat").read_text().rpartition(") ")[2].split()[1]
            if int(parent) == os.getppid() and name in (entry / "comm").read_text():
                found.append(int(entry.name))
    return found


def signalling(name: str, *numbers: signal.Signals) -> Callable[[Any], Change]:
    """A peer of ``stack`` ends what others rely on."""

    def on(stack: Any) -> Change:
        honest = stack.dial

        async def dial(self: Any, told: Dial) -> Event:
            if self._configure.role is Role.LISTENER:
                for number in numbers:
                    for pid in siblings(name):
                        os.kill(pid, number)
                    await asyncio.sleep(0.05)
            return await honest(self, told)  # type: ignore[no-any-return]

        def change() -> None:
            stack.dial = dial

        return change

    return on


def kills_the_other() -> None:
    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if entry.name.isdigit() and int(entry.name) != os.getpid():
                        parent = (entry / "stat").read_text().rpartition(") ")[2].split()[1]
                        command = b"python" in (entry / "cmdline").read_bytes()
                        if int(parent) == os.getppid() and command:
                            os.kill(int(entry.name), signal.SIGKILL)
        return await honest_dial(self, told)

    UdpPuncher.dial = dial  # type: ignore[method-assign]


# -- who breaks the conversation, or what is kept of it ------------------------------


def writing(data: bytes, *, then: Callable[[], Any] = lambda: None) -> Change:
    """So much on stdout, when it is to dial."""

    async def dial(self: Any, told: Dial) -> Event:
        at = 0
        while at < len(data):
            at += os.write(1, data[at : at + 4096])
        then()
        return await honest_dial(self, told)

    return dials(dial)


def half_a_line() -> bytes:
    return json.dumps({"event": "connected", "at": time.monotonic_ns()})[:-1].encode()


def ends() -> None:
    os._exit(0)


def takes_the_results(folder: Path) -> Change:
    async def dial(self: Any, told: Dial) -> Event:
        shutil.rmtree(folder, ignore_errors=True)
        return await honest_dial(self, told)

    return dials(dial)


def plants_a_link(folder: Path) -> Change:
    """What the harness is to read is somewhere else."""

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            capture = folder / "capture.pcapng"
            capture.unlink()
            capture.symlink_to("/etc/passwd")
        return await honest_dial(self, told)

    return dials(dial)


def in_short_frames() -> None:
    """Honest: its frames have 100 bytes."""
    from testbed.stacks import echo

    echo.PAYLOAD_LIMIT = 100  # type: ignore[misc]
