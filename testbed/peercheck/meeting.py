"""A peer and a partner of ours: they dial, and echo."""

import asyncio
import contextlib
import os
import secrets
from contextlib import AsyncExitStack

from testbed.model.contract import (
    NONCE_BYTES,
    Ability,
    Configure,
    Connected,
    Dial,
    Echo,
    Echoed,
    Event,
    Failed,
    FailureClass,
    Heard,
    Mode,
    Offer,
    Offered,
    Path,
    Role,
    Stayed,
    Upgraded,
)
from testbed.model.peer_check import Gap, Rule, Scene, Sign
from testbed.peercheck import frames
from testbed.peercheck.child import waited_for_processor
from testbed.peercheck.frames import FrameFault
from testbed.peercheck.ground import SUBJECT_PORT
from testbed.peercheck.partner import Partner
from testbed.peercheck.strangers import Strangers, strangers
from testbed.peercheck.talk import Talk
from testbed.stacks.echo import chunks
from testbed.stacks.session import PeerFailure, now, sleep_until
from testbed.studies.punch.attempt import ECHO_BYTES
from testbed.traversal import TraversalError

START_MARGIN = 300_000_000  # nanoseconds from the command to the start: long enough to be early in
EARLY = 3_000_000  # nanoseconds before the start: the last look at what has come
LOOK = 20_000_000  # nanoseconds from one look to the next
LATE = 100.0  # milliseconds after the start by which the first probe has come
CALL = 150_000_000  # nanoseconds by which a listener is called before its start
HEAD_START = 300_000_000  # nanoseconds by which a listener that only answers is called later


class Meeting:
    """What follows the offer, where there is somebody at the other end."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.child = talk.child
        self.partner: Partner = talk.task.partner()
        self.told: list[Event] = []  # by our own side
        self.strangers: Strangers | None = None
        self.start = 0  # of the dial
        self.waited = 0.0  # seconds for which a processor was waited for before

    async def run(self, stack: AsyncExitStack, offer: Offer) -> None:
        other = Role.LISTENER if self.talk.role is Role.DIALER else Role.DIALER
        ours = self.talk.configure(other)
        stack.push_async_callback(self.partner.close)
        try:
            answer = await self.partner.gather(ours, self.told.append)
        except (PeerFailure, OSError) as failure:
            self.talk.skip(Gap.PARTNER, str(failure))
            await self.talk.close()
            return
        assert isinstance(answer, Offer)
        start = now() + START_MARGIN
        await self.child.send(Dial(remote=answer, start_at=start))
        if self.talk.scene is Scene.SILENT:
            await self._silence()
            return
        if self.talk.task.answers_itself:
            self.strangers = stack.enter_context(strangers(ours, self.talk.place.server))
        self.start, self.waited = start, self._waited()
        late = self._lateness()
        dialing = asyncio.create_task(self.partner.dial(Dial(remote=offer, start_at=start + late)))
        await self._before(start, late)
        self._call_as_stranger(offer)
        try:
            await self._connect(dialing, ours)
        finally:
            dialing.cancel()
            await asyncio.gather(dialing, return_exceptions=True)

    def _lateness(self) -> int:
        """By how much our own side starts later; below 0: earlier, and is not to be answered."""
        if self.talk.scene is Scene.PLAIN_LISTENER:
            return HEAD_START
        return -CALL if self.talk.task.answers_itself and self.talk.scene is Scene.LISTENER else 0

    async def _before(self, start: int, late: int) -> None:
        """Nothing leaves a peer before the start, and nothing unasked where it only answers."""
        if (early := await self._touched_before(start)) is not None:
            self.child.blame(Rule.DIALED_EARLY, event="dial", found=early)
        elif late > 0 and await self._touched_before(start + late) is not None:
            self._mode_ignored(Mode.PLAIN_DIAL, Sign.UNASKED)

    def _mode_ignored(self, mode: Mode, sign: Sign) -> None:
        self.child.blame(Rule.MODE_IGNORED, expected=mode.value, found=sign.value)

    def _waited(self) -> float:
        """Seconds for which the peer, and we ourselves, have waited for a processor so far."""
        return self.child.waited_for_processor() + waited_for_processor(os.getpid())

    def _look_at_start(self) -> None:
        """Both sides send at once."""
        probed = frames.first_probe(self.partner.seen)
        if self.strangers is None or probed is None or self.talk.scene is Scene.PLAIN_LISTENER:
            return
        late = (probed - self.start) / 1e6 - (self._waited() - self.waited) * 1e3
        if late > LATE:
            self.child.blame(Rule.DIALED_LATE, event="dial", expected=LATE, found=round(late, 1))

    def _call_as_stranger(self, offer: Offer) -> None:
        if self.strangers is not None:
            for address in offer.addresses:
                self.strangers.call(address.pair)

    def _look_at_strangers(self) -> None:
        for field in self.strangers.answered() if self.strangers is not None else ():
            self.child.blame(Rule.STRANGER_HEEDED, field=field)

    async def _touched_before(self, instant: int) -> float | None:
        """By how many ms before ``instant`` the peer has sent us something; None: it did not."""
        while True:
            touched, left = self.partner.touched(), instant - now()
            if left <= 0:  # looked too late to tell
                return None
            if touched:
                return round(left / 1e6, 1)
            await sleep_until(min(instant - EARLY, now() + LOOK) if left > EARLY else instant)

    async def _silence(self) -> None:
        end = await self.child.wait(
            (Connected, Failed), self.talk.patience.connecting, asked="dial"
        )
        if self.partner.touched():
            self._mode_ignored(Mode.SILENT, Sign.SENT)
        elif isinstance(end, Connected):
            self._mode_ignored(Mode.SILENT, Sign.CONNECTED)
        elif isinstance(end, Failed):
            if end.failure is FailureClass.UNSUPPORTED:
                self.talk.skip(Gap.UNSUPPORTED, end.reason)
            else:
                self.talk.expect_failure(end, FailureClass.NOT_ATTEMPTED)
        await self.talk.close()

    async def _connect(self, dialing: "asyncio.Task[Event]", ours: Configure) -> None:
        end = await self.child.wait(
            (Connected, Failed), self.talk.patience.connecting, asked="dial"
        )
        self._look_at_start()
        if isinstance(end, Failed):
            self._not_connected(end, ours)
        else:
            assert isinstance(end, Connected)
            try:
                mine = await dialing
            except (PeerFailure, TraversalError) as failure:
                self.child.blame(Rule.CLAIM_WRONG, event="connected", found=str(failure))
            else:
                assert isinstance(mine, Connected)
                await self._connected(end, mine, ours)
        await self.talk.close()

    def _not_connected(self, end: Failed, ours: Configure) -> None:
        """Nothing is in the way on loopback, so it is the peer; its frames may say why."""
        if end.failure is FailureClass.UNSUPPORTED:
            self.talk.skip(Gap.UNSUPPORTED, end.reason)
        elif self.talk.task.ice:
            self.talk.skip(Gap.CHECKS, f"{end.failure}: {end.reason}")
        elif not self._frames_blamed(ours):
            found = f"{end.failure}: {end.reason}"
            self.child.blame(Rule.NOT_CONNECTED, event="dial", found=found)

    def _not_resent(self) -> bool:
        loss = self.partner.loss
        if loss is None or loss.lost is None or loss.resent:
            return False
        self.child.blame(Rule.ECHO_NOT_RESENT, event="echo", found=loss.lost)
        return True

    def _frames_blamed(self, ours: Configure) -> bool:
        broken = list(frames.faults(self.partner.seen, ours))
        for fault in broken:
            self._blame_frame(fault)
        return bool(broken)

    def _blame_frame(self, fault: FrameFault) -> None:
        facts = {"expected": fault.expected, "found": fault.found}
        said = {name: value for name, value in facts.items() if value is not None}
        self.child.blame(fault.rule, field=fault.field, **said)

    async def _connected(self, theirs: Connected, mine: Connected, ours: Configure) -> None:
        if not self.talk.task.libp2p:
            self._look_at_claim(theirs, mine)
        if self.talk.scene in (Scene.PLAIN_DIALER, Scene.PLAIN_LISTENER):
            plain = theirs.local if self.talk.role is Role.DIALER else theirs.remote
            if plain.port == SUBJECT_PORT:
                self._mode_ignored(Mode.PLAIN_DIAL, Sign.PORT)
            return
        if self.talk.task.libp2p:
            await self._upgrade()
        if self.talk.role is Role.DIALER:
            await self._told_to_echo(ours)
        else:
            await self._echoed_back(ours)
        self._frames_blamed(ours)
        self._look_at_strangers()  # what they sent came before the echo did

    def _look_at_claim(self, theirs: Connected, mine: Connected) -> None:
        if theirs.path is not Path.DIRECT:
            self.child.blame(
                Rule.CLAIM_WRONG,
                event="connected",
                field="path",
                expected="direct",
                found=theirs.path.value,
            )
        for field, said, seen in (
            ("local", theirs.local, mine.remote),
            ("remote", theirs.remote, mine.local),
        ):
            if said != seen:
                self.child.blame(
                    Rule.CLAIM_WRONG,
                    event="connected",
                    field=field,
                    expected=str(seen),
                    found=str(said),
                )

    async def _upgrade(self) -> None:
        """Either went direct or will not: the listener leads and is asked first."""
        kinds = (Upgraded, Stayed, Failed)
        if self.talk.role is Role.LISTENER:
            await self.child.wait(kinds, self.talk.patience.upgrading, asked="upgrade")
            return
        end = await self._partner_tells(kinds, self.talk.patience.upgrading)
        if isinstance(end, Upgraded):
            await self.child.wait(kinds, self.talk.patience.upgrading, asked="upgrade")

    async def _partner_tells(self, kinds: tuple[type[Event], ...], seconds: float) -> Event | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    for event in self.told:
                        if isinstance(event, kinds):
                            return event
                    await asyncio.sleep(0.02)
        return None

    async def _told_to_echo(self, ours: Configure) -> None:
        nonce = secrets.token_bytes(NONCE_BYTES) if self._accepts_nonce() else b""
        await self.child.send(Echo(bytes=ECHO_BYTES, nonce=nonce.hex() or None))
        end = await self.child.wait((Echoed, Failed), self.talk.patience.echoing, asked="echo")
        if self._frames_blamed(ours):
            return
        if not isinstance(end, Echoed):
            found = f"{end.failure}: {end.reason}" if isinstance(end, Failed) else ""
            self.child.blame(Rule.NOT_CONNECTED, event="echo", found=found)
            return
        sent = ECHO_BYTES if self.talk.task.libp2p else frames.asked(self.partner.seen)
        if end.bytes > min(sent, ECHO_BYTES):
            self.child.blame(
                Rule.ECHO_OVERSTATED, event="echoed", field="bytes", expected=sent, found=end.bytes
            )
        elif not self._not_resent() and end.bytes < ECHO_BYTES:
            self.child.blame(
                Rule.ECHO_SHORT,
                event="echoed",
                field="bytes",
                expected=ECHO_BYTES,
                found=end.bytes,
            )
        if not nonce:
            small = frames.too_small(self.partner.seen, ECHO_BYTES)
            if small is not None:
                self._blame_frame(small)
        elif (fault := frames.unmarked(self.partner.seen, nonce)) is not None:
            self._blame_frame(fault)
        elif self.talk.task.libp2p:
            heard = await self._partner_tells((Heard,), self.talk.patience.closing)
            if not isinstance(heard, Heard) or heard.nonce != nonce.hex():
                found = heard.nonce if isinstance(heard, Heard) else "nothing"
                self.child.blame(Rule.NONCE_MISSING, expected=nonce.hex(), found=found)

    def _accepts_nonce(self) -> bool:
        told = (event for event in self.child.events if isinstance(event, Offered))
        return any(Ability.NONCE in event.accepts for event in told)

    async def _require_heard(self, nonce: bytes) -> None:
        """It says what an encrypted stream began with that it sent back."""
        heard = await self.child.wait((Heard,), self.talk.patience.closing, asked="echo")
        if isinstance(heard, Heard) and heard.nonce != nonce.hex():
            self.child.blame(
                Rule.CLAIM_WRONG,
                event="heard",
                field="nonce",
                expected=nonce.hex(),
                found=heard.nonce,
            )

    async def _echoed_back(self, ours: Configure) -> None:
        nonce = secrets.token_bytes(NONCE_BYTES)
        try:
            back = await self.partner.echo(ECHO_BYTES, nonce)
        except PeerFailure as failure:
            self.child.blame(Rule.ECHO_NOT_RETURNED, expected=ECHO_BYTES, found=str(failure))
            return
        if self._frames_blamed(ours):
            return
        sent = chunks(ECHO_BYTES, ours.seed, nonce)
        if (fault := frames.altered(self.partner.seen, sent)) is not None:
            self._blame_frame(fault)
        elif back < ECHO_BYTES:
            self.child.blame(Rule.ECHO_NOT_RETURNED, expected=ECHO_BYTES, found=back)
        elif self.talk.task.libp2p and self._accepts_nonce():
            await self._require_heard(nonce)
