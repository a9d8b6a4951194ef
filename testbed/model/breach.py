"""Breaches: how a stack broke its protocol, or told of a connection that is not there.

Each is a value of its own type, with its `BreachKind` as the field ``kind``.
`testbed.words` has their sentences; nothing but people reads those.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from testbed.model.address import Endpoint, Sight
from testbed.model.fault import Tardy
from testbed.model.frozen import FrozenValue
from testbed.model.life import Fate
from testbed.model.outcome import Outcome, Rung, StepName
from testbed.model.rent import Carriage, Proven
from testbed.model.saying import Saying

Said = Annotated[Saying, Field(discriminator="kind")]


class BreachKind(StrEnum):
    """What was broken."""

    NO_RELAY_FIRST = "no_relay_first"
    UPGRADE_UNTOLD = "upgrade_untold"
    NO_PAYLOAD = "no_payload"
    BEFORE_RELAYED = "before_relayed"
    RELAYED_UNSEEN = "relayed_unseen"
    STEP_MISSING = "step_missing"
    STEPS_SWAPPED = "steps_swapped"
    PUNCHED_EARLY = "punched_early"
    STEP_UNSEEN = "step_unseen"
    NOTHING_LEFT = "nothing_left"
    NOT_CROSSED = "not_crossed"
    NOT_CLIENT = "not_client"
    OWN_INITIAL = "own_initial"
    RELAY_KEPT = "relay_kept"
    RELAY_USED = "relay_used"
    TRIED = "tried"
    RUNG_DIFFERS = "rung_differs"
    RUNG_CLAIMED = "rung_claimed"
    FALSE_CLAIM = "false_claim"
    DISOWNED = "disowned"
    CARRIED = "carried"
    CONNECTED_EARLY = "connected_early"
    UNFOUNDED = "unfounded"
    NONCE_UNHEARD = "nonce_unheard"
    NEVER_SENT = "never_sent"
    TRIED_LITTLE = "tried_little"
    BELATED = "belated"
    TOO_SLOW = "too_slow"
    DEVIATION_GONE = "deviation_gone"
    HIT_DISPUTED = "hit_disputed"
    COUNT_DISPUTED = "count_disputed"
    LIMIT_PASSED = "limit_passed"
    FATE_DIFFERS = "fate_differs"
    GAP_DIFFERS = "gap_differs"
    PLACE_DIFFERS = "place_differs"
    LOSS_CLAIMED = "loss_claimed"
    LOSS_UNTOLD = "loss_untold"
    PATH_DIFFERS = "path_differs"
    SHARE_DIFFERS = "share_differs"
    BYTES_DIFFER = "bytes_differ"
    WORK_DIFFERS = "work_differs"
    COUNTERS_DIFFER = "counters_differ"
    RECEIPT_DISPUTED = "receipt_disputed"
    CHEAT_PROVEN = "cheat_proven"
    WORTHLESS_STATEMENTS = "worthless_statements"


class Claim(FrozenValue):
    """What one peer says of its connection: an outcome, and what that is taken from.

    An outcome of None: only that there is no direct one.
    """

    node: str
    outcome: Outcome | None
    said: Said | None = None

    def denied_by(self, outcome: Outcome) -> bool:
        """Whether the wire, which shows ``outcome``, shows another thing than is claimed."""
        if self.outcome is None:
            return outcome is Outcome.DIRECT
        return outcome is not self.outcome


class NoRelayFirst(FrozenValue):
    """The peers do not tell of a connection through one relay."""

    kind: Literal[BreachKind.NO_RELAY_FIRST] = BreachKind.NO_RELAY_FIRST


class UpgradeUntold(FrozenValue):
    """A peer does not tell that the connection was upgraded."""

    kind: Literal[BreachKind.UPGRADE_UNTOLD] = BreachKind.UPGRADE_UNTOLD


class NoPayload(FrozenValue):
    """No payload went from peer to peer."""

    kind: Literal[BreachKind.NO_PAYLOAD] = BreachKind.NO_PAYLOAD


class BeforeRelayed(FrozenValue):
    """``packet`` went from peer to peer before ``node`` had its relayed connection."""

    node: str
    packet: Sight
    kind: Literal[BreachKind.BEFORE_RELAYED] = BreachKind.BEFORE_RELAYED


class RelayedUnseen(FrozenValue):
    """No payload of ``node`` reached ``other`` when ``other`` says it was connected."""

    node: str
    other: str
    relay: str
    kind: Literal[BreachKind.RELAYED_UNSEEN] = BreachKind.RELAYED_UNSEEN


class StepMissing(FrozenValue):
    """``node`` does not tell of a step that leads to a punch."""

    node: str
    step: StepName
    kind: Literal[BreachKind.STEP_MISSING] = BreachKind.STEP_MISSING


class StepsSwapped(FrozenValue):
    """``step`` of ``node`` came before ``other_step`` of ``other``, which must come first."""

    node: str
    step: StepName
    other: str
    other_step: StepName
    kind: Literal[BreachKind.STEPS_SWAPPED] = BreachKind.STEPS_SWAPPED


class PunchedEarly(FrozenValue):
    """``node`` punched before its own ``step`` had told it to, or did not tell of a punch."""

    node: str
    step: StepName
    kind: Literal[BreachKind.PUNCHED_EARLY] = BreachKind.PUNCHED_EARLY


class StepUnseen(FrozenValue):
    """No packets through the relay belong to ``step``, which ``node`` tells of."""

    node: str
    step: StepName
    relay: str
    kind: Literal[BreachKind.STEP_UNSEEN] = BreachKind.STEP_UNSEEN


class NothingLeft(FrozenValue):
    """In a punch nothing of ``node`` towards ``other`` left ``vantage``."""

    node: str
    other: str
    vantage: str
    kind: Literal[BreachKind.NOTHING_LEFT] = BreachKind.NOTHING_LEFT


class NotCrossed(FrozenValue):
    """``node`` punched: the other's packet came in at ``vantage`` before any went out there."""

    node: str
    vantage: str
    came: Sight
    went: Sight
    kind: Literal[BreachKind.NOT_CROSSED] = BreachKind.NOT_CROSSED


class FirstNoise(FrozenValue):
    """How many bytes the first Noise messages declare; None: there is none."""

    client: int | None
    server: int | None


class NotClient(FrozenValue):
    """``node`` should be the client of the handshake with ``other``, and is not.

    ``noise``: over TCP, the lengths that show it.  Over QUIC it sent no Initial.
    """

    node: str
    other: str
    noise: FirstNoise | None = None
    kind: Literal[BreachKind.NOT_CLIENT] = BreachKind.NOT_CLIENT


class OwnInitial(FrozenValue):
    """``node`` is the server, and sent a QUIC Initial that answers none."""

    node: str
    packet: Sight
    kind: Literal[BreachKind.OWN_INITIAL] = BreachKind.OWN_INITIAL


class RelayKept(FrozenValue):
    """These peers did not leave the relayed connection: ``node``, and ``other`` if both."""

    node: str
    other: str | None = None
    kind: Literal[BreachKind.RELAY_KEPT] = BreachKind.RELAY_KEPT


class RelayUsed(FrozenValue):
    """So many bytes went through the relay after both had left it."""

    node: str
    other: str
    relay: str
    size: int
    kind: Literal[BreachKind.RELAY_USED] = BreachKind.RELAY_USED


class Tried(FrozenValue):
    """A packet went from peer to peer although upgrades are off."""

    packet: Sight
    kind: Literal[BreachKind.TRIED] = BreachKind.TRIED


class RungDiffers(FrozenValue):
    """The wire shows another rung than was predicted; None: no connection."""

    predicted: Rung | None
    measured: Rung | None
    kind: Literal[BreachKind.RUNG_DIFFERS] = BreachKind.RUNG_DIFFERS


class RungClaimed(FrozenValue):
    """The wire shows another rung than ``node`` claims."""

    node: str
    claimed: Rung | None
    measured: Rung | None
    kind: Literal[BreachKind.RUNG_CLAIMED] = BreachKind.RUNG_CLAIMED


class FalseClaim(FrozenValue):
    """``node`` claims what the wire denies.  None: that it has no direct connection.

    ``said`` is what that is taken from.
    """

    node: str
    claimed: Outcome | None
    measured: Outcome
    said: Said | None = None
    kind: Literal[BreachKind.FALSE_CLAIM] = BreachKind.FALSE_CLAIM


class Disowned(FrozenValue):
    """Packets crossed both ways, and not both peers claim a connection.

    ``there`` and ``back`` are the numbers of the first packets of both ways.
    """

    there: int
    back: int
    claims: tuple[Claim, ...]
    kind: Literal[BreachKind.DISOWNED] = BreachKind.DISOWNED


class Carried(FrozenValue):
    """``node`` passed ``size`` bytes to others by way of the server they only meet at."""

    node: str
    size: int
    kind: Literal[BreachKind.CARRIED] = BreachKind.CARRIED


class ConnectedEarly(FrozenValue):
    """``node`` says that it was connected ``ms`` milliseconds before it was due to begin."""

    node: str
    ms: float
    kind: Literal[BreachKind.CONNECTED_EARLY] = BreachKind.CONNECTED_EARLY


class Unfounded(FrozenValue):
    """``node`` says that it is connected to ``remote``, and nothing had come from there by then.

    The first of it came ``ms`` milliseconds later; None: nothing of it ever came.
    """

    node: str
    remote: Endpoint
    ms: float | None
    kind: Literal[BreachKind.UNFOUNDED] = BreachKind.UNFOUNDED


class NonceUnheard(FrozenValue):
    """All came back to the dialer, and the other end did not hear what it was to begin with.

    ``heard``: it says that it heard something else.
    """

    node: str
    heard: bool
    kind: Literal[BreachKind.NONCE_UNHEARD] = BreachKind.NONCE_UNHEARD


class NeverSent(FrozenValue):
    """``node`` should have made an attempt, and sent nothing to anybody but the server."""

    node: str
    kind: Literal[BreachKind.NEVER_SENT] = BreachKind.NEVER_SENT


class TriedLittle(FrozenValue):
    """``node`` did not do its part of an attempt, which came to nothing as it was predicted to.

    ``tries`` in ``seconds`` is all that it made; ``answered``: it asked a server, had the
    answer, and made nothing of it.
    """

    node: str
    tries: int
    seconds: float
    answered: bool = False
    kind: Literal[BreachKind.TRIED_LITTLE] = BreachKind.TRIED_LITTLE


class Belated(FrozenValue):
    """``what`` of ``node`` was ``ms`` milliseconds late, and this machine did not make it so."""

    what: Tardy
    node: str
    ms: float
    kind: Literal[BreachKind.BELATED] = BreachKind.BELATED


class TooSlow(FrozenValue):
    """The later peer was connected as expected after ``took_s``, and ``within_s`` was expected."""

    took_s: float
    within_s: float
    kind: Literal[BreachKind.TOO_SLOW] = BreachKind.TOO_SLOW


class DeviationGone(FrozenValue):
    """A known deviation of a stack was not there."""

    stack: str
    name: str
    link: str
    kind: Literal[BreachKind.DEVIATION_GONE] = BreachKind.DEVIATION_GONE


class HitDisputed(FrozenValue):
    """The sides of run ``run`` tell of a hit (or of none), and the wire shows the contrary."""

    run: int
    told: bool
    kind: Literal[BreachKind.HIT_DISPUTED] = BreachKind.HIT_DISPUTED


class CountDisputed(FrozenValue):
    """The hard and the easy side of run ``run`` have not sent as many packets as they tell."""

    run: int
    told: tuple[int, int]
    seen: tuple[int, int]
    kind: Literal[BreachKind.COUNT_DISPUTED] = BreachKind.COUNT_DISPUTED


class LimitPassed(FrozenValue):
    """One side has sent more packets in a run than its limits allow."""

    sent: int
    allowed: int
    kind: Literal[BreachKind.LIMIT_PASSED] = BreachKind.LIMIT_PASSED


class FateDiffers(FrozenValue):
    """Of a connection to which something happened."""

    seen: Fate
    expected: Fate
    kind: Literal[BreachKind.FATE_DIFFERS] = BreachKind.FATE_DIFFERS


class GapDiffers(FrozenValue):
    """The echo paused for ``seen`` seconds, which lies outside of ``low`` and ``high``."""

    seen: float
    low: float
    high: float
    kind: Literal[BreachKind.GAP_DIFFERS] = BreachKind.GAP_DIFFERS


class PlaceDiffers(FrozenValue):
    """The dialer is seen at another address than before (``moved``), or not, against the model."""

    moved: bool
    kind: Literal[BreachKind.PLACE_DIFFERS] = BreachKind.PLACE_DIFFERS


class LossClaimed(FrozenValue):
    """The dialer says that its connection was lost, and the wire shows that it was not."""

    node: str
    kind: Literal[BreachKind.LOSS_CLAIMED] = BreachKind.LOSS_CLAIMED


class LossUntold(FrozenValue):
    """The wire shows another connection, and the dialer says nothing of a loss."""

    node: str
    kind: Literal[BreachKind.LOSS_UNTOLD] = BreachKind.LOSS_UNTOLD


class PathDiffers(FrozenValue):
    """A pair of a swarm went by another path than the oracle says of its two NATs."""

    pair: str
    measured: Outcome
    predicted: Outcome
    kind: Literal[BreachKind.PATH_DIFFERS] = BreachKind.PATH_DIFFERS


class ShareDiffers(FrozenValue):
    """Of a swarm's ``pairs`` so many are ``direct``, outside of what its population foresees."""

    direct: int
    pairs: int
    foreseen: tuple[int, int]
    kind: Literal[BreachKind.SHARE_DIFFERS] = BreachKind.SHARE_DIFFERS


class BytesDiffer(FrozenValue):
    """The relays carried ``passed`` bytes, outside of what the population foresees."""

    passed: int
    foreseen: tuple[int, int]
    kind: Literal[BreachKind.BYTES_DIFFER] = BreachKind.BYTES_DIFFER


class WorkDiffers(FrozenValue):
    """Of a pair's work ``done`` of ``asked`` bytes came back, against its relay's limits."""

    pair: str
    done: int
    asked: int
    kind: Literal[BreachKind.WORK_DIFFERS] = BreachKind.WORK_DIFFERS


class CountersDiffer(FrozenValue):
    """Frames and bytes of a relay's interface, as recorded and as its kernel counted them."""

    relay: str
    recorded: tuple[int, int]
    counted: tuple[int, int]
    kind: Literal[BreachKind.COUNTERS_DIFFER] = BreachKind.COUNTERS_DIFFER


class ReceiptDisputed(FrozenValue):
    """A receipt is for other bytes than the packets show, or they could not be opened."""

    carriage: Carriage
    kind: Literal[BreachKind.RECEIPT_DISPUTED] = BreachKind.RECEIPT_DISPUTED


class CheatProven(FrozenValue):
    """Signed statements prove that somebody cheated."""

    proven: Proven
    kind: Literal[BreachKind.CHEAT_PROVEN] = BreachKind.CHEAT_PROVEN


class WorthlessStatements(FrozenValue):
    """``node`` shows statements that no signature or no contract stands behind."""

    node: str
    count: int
    kind: Literal[BreachKind.WORTHLESS_STATEMENTS] = BreachKind.WORTHLESS_STATEMENTS


Breach = (
    NoRelayFirst
    | UpgradeUntold
    | NoPayload
    | BeforeRelayed
    | RelayedUnseen
    | StepMissing
    | StepsSwapped
    | PunchedEarly
    | StepUnseen
    | NothingLeft
    | NotCrossed
    | NotClient
    | OwnInitial
    | RelayKept
    | RelayUsed
    | Tried
    | RungDiffers
    | RungClaimed
    | FalseClaim
    | Disowned
    | Carried
    | ConnectedEarly
    | Unfounded
    | NonceUnheard
    | NeverSent
    | TriedLittle
    | Belated
    | TooSlow
    | DeviationGone
    | HitDisputed
    | CountDisputed
    | LimitPassed
    | FateDiffers
    | GapDiffers
    | PlaceDiffers
    | LossClaimed
    | LossUntold
    | PathDiffers
    | ShareDiffers
    | BytesDiffer
    | WorkDiffers
    | CountersDiffer
    | ReceiptDisputed
    | CheatProven
    | WorthlessStatements
)


def cited(breach: Breach) -> tuple[int, ...]:
    """The numbers of the packets that show it."""
    match breach:
        case BeforeRelayed() | OwnInitial() | Tried():
            return (breach.packet.number,)
        case NotCrossed():
            return breach.came.number, breach.went.number
        case Disowned():
            return breach.there, breach.back
        case _:
            return ()
