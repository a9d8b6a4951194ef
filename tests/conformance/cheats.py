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

import instead

from testbed.lab import kernel
from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Event,
    FailureClass,
    Heard,
    IceParameters,
    Mode,
    Offer,
    Offered,
    Role,
)
from testbed.model.contract import Path as Way
from testbed.stacks import session
from testbed.stacks.echo import chunks, marked
from testbed.stacks.ice import IcePeer
from testbed.stacks.punch_udp import UdpPuncher
from testbed.stacks.session import PeerFailure, Stack, now, sleep_until
from testbed.stacks.traversal import TraversalPeer
from testbed.stacks.wire import PAYLOAD_LIMIT, Kind, Speaker
from testbed.traversal import Multiaddr, PeerId
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeService
from testbed.traversal.punch_budget import Attempt

Change = Callable[[], None]
STRANGER = ("29.0.0.250", 9)  # a public address that nobody has
PATIENCE = 5.0  # seconds in which one end waits for the other


def dials(how: Callable[[Any, Dial], Awaitable[Event]]) -> Change:
    """The dial is made in another way."""
    return lambda: instead.dials(UdpPuncher, how)


def gathers(how: Callable[[Any, Configure, Any], Awaitable[Offer]]) -> Change:
    """What is offered is found in another way."""
    return lambda: instead.gathers(UdpPuncher, how)


def both(
    dial: Callable[[Any, Dial], Awaitable[Event]],
    echo: Callable[[Any, int, bytes], Awaitable[int]],
) -> Change:
    """The dial and the echo are made in another way."""

    def change() -> None:
        instead.dials(UdpPuncher, dial)
        instead.echoes(UdpPuncher, echo)

    return change


honest_dial, honest_gather, honest_echo = UdpPuncher.dial, UdpPuncher.gather, UdpPuncher.echo


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

    instead.dials(UdpPuncher, dial)


# -- who has a relay, and does not try to do without ----------------------------------


def offers_without(kind: str) -> Change:
    """ICE peers leave out candidates of a kind, as if no server had told them."""
    honest = IcePeer.gather

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        offer = await honest(self, configure, emit)
        assert offer.ice is not None
        left = tuple(one for one in offer.ice.candidates if f"typ {kind}" not in one)
        return offer.model_copy(update={"ice": offer.ice.model_copy(update={"candidates": left})})

    return lambda: instead.gathers(IcePeer, gather)


def checks_relays_alone() -> None:
    honest = IcePeer.dial

    async def dial(self: Any, told: Dial) -> Event:
        ice = told.remote.ice
        assert ice is not None
        left = tuple(one for one in ice.candidates if "typ relay" in one)
        remote = told.remote.model_copy(update={"ice": ice.model_copy(update={"candidates": left})})
        return await honest(self, told.model_copy(update={"remote": remote}))

    instead.dials(IcePeer, dial)


def gathers_in_vain() -> None:
    """All servers answered, and the peer says that none did."""
    honest = IcePeer.gather

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        await honest(self, configure, emit)
        raise PeerFailure(FailureClass.GATHERING, "no answer from anybody")

    instead.gathers(IcePeer, gather)


def punches_nothing() -> None:
    """libp2p peers go through DCUtR in words, and send nothing to each other."""

    async def nothing(
        self: UpgradeService, address: Multiaddr, peer: PeerId, client: bool, round_: Attempt
    ) -> None:
        del self, address, peer, client, round_

    UpgradeService._punch_one = nothing  # type: ignore[method-assign]


def denies_the_relay() -> None:
    """The listener reserved at its relay, and says that it did not answer."""
    honest = TraversalPeer.gather

    async def gather(self: Any, configure: Configure, emit: Any) -> Any:
        told = await honest(self, configure, emit)
        if configure.role is Role.LISTENER:
            raise PeerFailure(FailureClass.GATHERING, "the relay does not answer")
        return told

    instead.gathers(TraversalPeer, gather)


# -- who says what is not so -------------------------------------------------------


async def _connected(self: Any, dial: Dial) -> Connected:
    """As if both directions worked."""
    await sleep_until(dial.start_at)
    await asyncio.sleep(0.05)
    remote = dial.remote.addresses[0]
    return Connected(at=now(), local=self._local(), remote=remote, path=Way.DIRECT)


def pretends(channel: Callable[[Any, int, bytes], Awaitable[int]] | None = None) -> Change:
    """Both are connected, without a packet; the echo goes by ``channel``, if by anything."""

    async def all_of(_self: Any, count: int, _nonce: bytes) -> int:
        return count

    return both(_connected, channel or all_of)


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

    async def echo(self: Any, count: int, nonce: bytes) -> int:
        draft = named(self, "draft")
        draft.write_bytes(marked(random.Random(self._configure.seed).randbytes(count), nonce))
        draft.rename(named(self, "there"))
        end = time.monotonic() + PATIENCE
        while not (came := named(self, "back")).exists():
            if time.monotonic() >= end:
                return 0
            await asyncio.sleep(0.005)
        size = came.stat().st_size
        came.unlink()
        return size

    return both(dial, echo)


def by_socket(folder: Path) -> Change:
    """The echo goes through a socket of the machine."""
    path = str(folder / "s")

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER and folder.exists():

            async def back(reader: Any, writer: Any) -> None:
                while data := await reader.read(65536):
                    writer.write(data)

            self.server = await asyncio.start_unix_server(back, path)
        return await _connected(self, told)

    async def echo(_self: Any, count: int, _nonce: bytes) -> int:
        if not folder.exists():
            return 0
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(bytes(count))
        return len(await reader.readexactly(count))

    return both(dial, echo)


def by_the_offer() -> None:
    """The payload goes within what the harness carries."""

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        offer = await honest_gather(self, configure, emit)
        payload = random.Random(configure.seed).randbytes(8000).hex()
        return offer.model_copy(
            update={"ice": IceParameters(ufrag=payload, pwd=payload, candidates=())}
        )

    instead.gathers(UdpPuncher, gather)
    pretends()()


def lies_of_time() -> None:
    """Connected before the common start."""

    async def dial(self: Any, told: Dial) -> Event:
        event = await honest_dial(self, told)
        return event.model_copy(update={"at": told.start_at - 1_000_000_000})

    instead.dials(UdpPuncher, dial)


def one_answers_for_both() -> None:
    """The dialer is connected alone, and says that all came back."""

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.DIALER:
            return await _connected(self, told)
        return await honest_dial(self, told)

    async def echo(_self: Any, count: int, _nonce: bytes) -> int:
        return count

    both(dial, echo)()


def calls_it_relayed() -> None:
    said = session._Session.emit

    def emit(self: session._Session, event: Event) -> None:
        if isinstance(event, Connected):
            event = event.model_copy(update={"path": Way.RELAYED})
        said(self, event)

    instead.emits(emit)


# -- who forges --------------------------------------------------------------------


def hairpins(*, to: tuple[str, int] | None, channel: Path | None = None) -> Change:
    """Each end sends its part to ``to``, and the other's part to itself.

    None: to a port of the other end's NAT at which nobody is.

    What either says is known to both, as it follows from the seed; but for the nonce, which the
    dialer hands over in a file below ``channel``.
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
        nonce = await handed_over(channel) if channel else b""
        for _ in range(10):
            for number, part in enumerate(chunks(16_384, self._configure.seed, nonce)):
                self._transports[0].sendto(self._speaker.say(mine, number, part), target)
                self._transports[1].sendto(theirs_say.say(theirs, number, part), own)
            await asyncio.sleep(0.05)

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        self.offered = await honest_gather(self, configure, emit)
        return self.offered  # type: ignore[no-any-return]

    async def echo(self: Any, count: int, nonce: bytes) -> int:
        if channel:
            hand_over(channel, nonce)
        own, target = self.ends
        await forge(self, own, target, Kind.DATA, Kind.BACK)
        return count

    def change() -> None:
        instead.gathers(UdpPuncher, gather)
        both(dial, echo)()

    return change


# -- whose echo is not what was asked for ------------------------------------------


def hand_over(folder: Path, nonce: bytes) -> None:
    """To whoever waits for it beside the network."""
    (folder / "draft").write_bytes(nonce)
    (folder / "draft").rename(folder / "nonce")


async def handed_over(folder: Path) -> bytes:
    end = time.monotonic() + PATIENCE
    while not (folder / "nonce").exists() and time.monotonic() < end:
        await asyncio.sleep(0.005)
    return (folder / "nonce").read_bytes()


def echoing(how: Callable[[Any, int, bytes], Awaitable[int]]) -> Change:
    """The two connect as they should, and the dialer echoes in another way."""
    return lambda: instead.echoes(UdpPuncher, how)


async def prepared(self: Any, count: int, _nonce: bytes) -> int:
    """What it sends was made before anybody was told a nonce."""
    return await self._echo.run(count, self._configure.seed, b"")  # type: ignore[no-any-return]


def with_decoys(folder: Path) -> Change:
    """All goes through a file, and a little of it, with the nonce, on the wire as well."""

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            self.returning = asyncio.create_task(back())
        return await honest_dial(self, told)

    async def back() -> None:
        await handed_over(folder)
        (folder / "nonce").rename(folder / "back")

    async def echo(self: Any, count: int, nonce: bytes) -> int:
        hand_over(folder, marked(bytes(count), nonce))
        for number in range(8):
            part = marked(os.urandom(60), nonce)
            await self._send_to_remote(self._speaker.say(Kind.DATA, number, part))
        end = time.monotonic() + PATIENCE
        while not (folder / "back").exists() and time.monotonic() < end:
            await asyncio.sleep(0.005)
        return (folder / "back").stat().st_size

    return both(dial, echo)


async def replays(self: Any, count: int, nonce: bytes) -> int:
    """One payload again and again, under a number of its own each."""
    part = marked(os.urandom(PAYLOAD_LIMIT), nonce)
    for number in range(count // PAYLOAD_LIMIT):
        await self._send_to_remote(self._speaker.say(Kind.DATA, number, part)[:28] + part)
    await asyncio.sleep(0.3)
    return count


def half_in_advance() -> None:
    """Honest but for this: most of it was sent before it was asked for, without a nonce."""

    async def dial(self: Any, told: Dial) -> Event:
        event = await honest_dial(self, told)
        if self._configure.role is Role.DIALER:
            for number, part in enumerate(chunks(16_384, self._configure.seed)):
                await self._send_to_remote(self._speaker.say(Kind.DATA, number, part))
        return event

    async def echo(_self: Any, count: int, _nonce: bytes) -> int:
        return count

    both(dial, echo)()


def accepting_nothing() -> None:
    """Honest, of the contract as it was before there were nonces."""
    session._offered = lambda told: Offered(at=now(), offer=told)


def hears(says: Callable[[str], str | None]) -> Change:
    """A libp2p listener ``says`` what it heard of a nonce; None: it says nothing."""
    honest = TraversalPeer._send_back

    async def send_back(self: Any, stream: Stream, connection: Connection) -> None:
        told = self._emit

        def emit(event: Event) -> None:
            if isinstance(event, Heard):
                said = says(event.nonce)
                if said is None:
                    return
                event = event.model_copy(update={"nonce": said})
            told(event)

        self._emit = emit
        await honest(self, stream, connection)

    def change() -> None:
        TraversalPeer._send_back = send_back  # type: ignore[method-assign]

    return change


def streams_by_a_file(folder: Path, decoys: int = 0) -> Change:
    """The echo of libp2p peers, but for so many bytes of ``decoys`` in a stream."""
    honest_dial, honest_echo = TraversalPeer.dial, TraversalPeer.echo

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            self.returning = asyncio.create_task(back(self))
        return await honest_dial(self, told)

    async def back(self: Any) -> None:
        nonce = await handed_over(folder)
        self._emit(Heard(at=now(), nonce=nonce.hex()))

    async def echo(self: Any, count: int, nonce: bytes) -> int:
        hand_over(folder, nonce)
        if decoys:
            await honest_echo(self, decoys, nonce)
        await asyncio.sleep(0.3)
        return count

    def change() -> None:
        instead.dials(TraversalPeer, dial)
        instead.echoes(TraversalPeer, echo)

    return change


# -- who changes the lab: whoever finds no way out of his confinement is as good as honest ------


def in_routers(*command: str) -> None:
    """Run ``command`` in each router, whose network is open to whoever sees the harness's files."""
    files = Path(f"/proc/{os.getppid()}/fd")
    for link in files.iterdir() if files.exists() else ():
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
        if not folder.exists():
            return await honest_dial(self, command)
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

    async def echo(self: Any, count: int, nonce: bytes) -> int:
        if not folder.exists():
            return await honest_echo(self, count, nonce)
        reader, writer = await asyncio.open_connection("192.0.2.2", 5000)
        writer.write(bytes(count))
        size = len(await reader.readexactly(count))
        if not left:
            _shell("ip link del cheat0")
        return size

    return both(dial, echo)


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


def signalling(name: str, *numbers: signal.Signals) -> Callable[[type[Stack]], Change]:
    """A peer of ``stack`` ends what others rely on."""

    def on(stack: type[Stack]) -> Change:
        honest = stack.dial

        async def dial(self: Any, told: Dial) -> Event:
            if self._configure.role is Role.LISTENER:
                for number in numbers:
                    for pid in siblings(name):
                        os.kill(pid, number)
                    await asyncio.sleep(0.05)
            return await honest(self, told)

        return lambda: instead.dials(stack, dial)

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

    instead.dials(UdpPuncher, dial)


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
    """What the harness is to write lands somewhere else."""

    async def dial(self: Any, told: Dial) -> Event:
        if self._configure.role is Role.LISTENER and folder.exists():
            capture = folder / "capture.pcapng"
            capture.unlink(missing_ok=True)
            capture.symlink_to(folder.parent / "elsewhere")
        return await honest_dial(self, told)

    return dials(dial)


def in_short_frames() -> None:
    """Honest: its frames have 100 bytes."""
    from testbed.stacks import echo

    echo.PAYLOAD_LIMIT = 100  # type: ignore[attr-defined]
