"""One conversation up to the offer, and the notes on it."""

import secrets

from testbed.model.contract import (
    ENDS,
    Configure,
    Endpoint,
    Failed,
    FailureClass,
    Listening,
    Mode,
    Observed,
    Offer,
    Offered,
    Options,
    Role,
)
from testbed.model.peer_check import Gap, Rule, Scene, Unchecked
from testbed.peercheck.child import Child, Ended
from testbed.peercheck.ground import PARTNER_PORT, SUBJECT_PORT, Ground
from testbed.peercheck.task import Task

_ROLES = {
    Scene.LISTENER: Role.LISTENER,
    Scene.PLAIN_LISTENER: Role.LISTENER,
    Scene.RELAYED_LISTENER: Role.LISTENER,
    Scene.RELAY: Role.RELAY,
    Scene.AUTONAT_SERVER: Role.AUTONAT_SERVER,
    Scene.AUTONAT_CLIENT: Role.AUTONAT_CLIENT,
}
_MODES = {
    Scene.SILENT: Mode.SILENT,
    Scene.PLAIN_DIALER: Mode.PLAIN_DIAL,
    Scene.PLAIN_LISTENER: Mode.PLAIN_DIAL,
}


class Talk:
    """A peer in a scene.  What it does is noted in `Child`, what was not looked at here."""

    def __init__(self, task: Task, scene: Scene, place: Ground, child: Child) -> None:
        self.task = task
        self.scene = scene
        self.place = place
        self.child = child
        self.patience = task.patience
        self.unchecked: list[Unchecked] = []
        self.session = secrets.token_hex(16)
        self.relays: tuple[str, ...] = ()
        self.observers: tuple[str, ...] = ()
        self.role = _ROLES.get(scene, Role.DIALER)

    def configure(self, role: Role, relays: tuple[str, ...] | None = None) -> Configure:
        own = role is self.role
        ends = self.role in ENDS
        return Configure(
            version=2,
            role=role,
            transport=self.task.transport,
            local_address=self.place.subject if own else self.place.partner,
            port=SUBJECT_PORT if own else PARTNER_PORT,
            stun=None if self.task.libp2p else self.place.stun,
            turn=None,
            relays=self.relays if relays is None else relays,
            observers=self.observers if ends or self.role is Role.AUTONAT_CLIENT else (),
            session=self.session,
            seed=secrets.randbits(32) if own else 1,
            options=Options(
                mode=_MODES.get(self.scene, Mode.PUNCH),
                relay_only=self.scene in (Scene.RELAYED_DIALER, Scene.RELAYED_LISTENER),
            ),
        )

    async def offered(self) -> Offer | None:
        """What the peer offers; None, with the reason noted, if it has nothing to offer."""
        told = await self.child.wait((Offered, Failed), self.patience.gathering, asked="configure")
        if isinstance(told, Failed):
            await self.declined(told)
            return None
        assert isinstance(told, Offered)
        self._look_at_gathering(told.offer)
        return told.offer

    async def declined(self, told: Failed) -> None:
        gaps = {
            FailureClass.UNSUPPORTED: Gap.UNSUPPORTED,
            FailureClass.GATHERING: Gap.GATHERING,
        }
        gap = gaps.get(told.failure)
        if gap is None:
            self.child.blame(
                Rule.FAILURE_WRONG,
                event="configure",
                expected="unsupported or gathering",
                found=told.failure.value,
            )
        else:
            self.skip(gap, told.reason)
        await self.close()

    def _look_at_gathering(self, offer: Offer) -> None:
        here = (str(self.place.subject), SUBJECT_PORT)
        for event in self.child.events:
            if isinstance(event, Listening):
                self._look_at_socket(event.local, here)
            elif isinstance(event, Observed) and not self.task.libp2p:
                self._look_at_address(Rule.OBSERVED_WRONG, "observed", event.address)
        if self.task.punches:
            for client in self.place.seen[:1]:
                if client != here:
                    self.blame_endpoint(Rule.NOT_BOUND, "stun", here, client)
        field, wanted = self._needed(offer)
        if not wanted:
            self.child.blame(Rule.OFFER_EMPTY, event="offer", field=f"offer.{field}")
            raise Ended
        for address in offer.addresses if self.task.punches else ():
            self._look_at_address(Rule.OFFER_WRONG, "offer", address)

    def _look_at_socket(self, local: Endpoint, here: tuple[str, int]) -> None:
        """An ICE agent chooses its ports."""
        free = self.task.ice and local.pair[0] == here[0]
        if local.pair != here and not free:
            self.blame_endpoint(Rule.NOT_BOUND, "listening", here, local.pair)

    def _needed(self, offer: Offer) -> tuple[str, object]:
        """The part of an offer by which this mechanism reaches the peer."""
        if self.task.punches:
            return "addresses", offer.addresses
        if self.task.libp2p:
            return "multiaddrs", offer.multiaddrs
        return "ice", offer.ice

    def _look_at_address(self, rule: Rule, event: str, address: Endpoint) -> None:
        """Only the STUN server knows how the peer is seen."""
        seen = self.place.seen
        if address.pair not in seen:
            expected = seen[-1] if seen else ("nobody has asked", 0)
            self.blame_endpoint(rule, event, expected, address.pair)

    def blame_endpoint(
        self, rule: Rule, event: str, expected: tuple[str, int], found: tuple[str, int]
    ) -> None:
        words = (f"{address}:{port}" for address, port in (expected, found))
        self.child.blame(rule, event=event, expected=next(words), found=next(words))

    def expect_failure(self, end: Failed, *classes: FailureClass) -> None:
        if end.failure not in classes:
            self.child.blame(
                Rule.FAILURE_WRONG,
                event="dial",
                expected=" or ".join(classes),
                found=end.failure.value,
            )

    def skip(self, gap: Gap, words: str) -> None:
        self.unchecked.append(Unchecked(self.scene, gap, words))

    async def close(self) -> None:
        await self.child.close(self.patience.closing, self.patience.exiting)
