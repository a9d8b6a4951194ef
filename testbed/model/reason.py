"""What the network model tells: where packets went, what NATs did with them, and why.

A `Note` is something that a NAT did which lets a packet through, a `Drop` something that
ended its way.  A `Reason` is the fact that decides a prediction.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import NamedTuple

from testbed.model.chances import Chances
from testbed.model.outcome import Outcome, Rung


class Place(NamedTuple):
    """A transport address in the model.  The address is its owner's name, ``nat-a#1``."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Drawn(Place):
    """One whose port a model of a NAT chose where a real one chooses at random.

    Its number, marked by a star, says which mapping it is and nothing else: on the wire it is
    another.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.address}:{self.port}*"


def drawn(fact: object) -> bool:
    """Whether ``fact``, a value of this module, has a `Drawn` port anywhere in it."""
    if isinstance(fact, Drawn):
        return True
    if isinstance(fact, tuple):
        return any(map(drawn, fact))
    if is_dataclass(fact):
        return any(drawn(getattr(fact, one.name)) for one in fields(fact))
    return False


class Answer(StrEnum):
    """What the sender of a dropped packet gets to see."""

    SILENCE = "silence"
    RESET = "reset"
    UNREACHABLE = "unreachable"


# -- why a packet went no further -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Unfollowed:
    """A TCP segment of a connection that came to nothing."""

    nat: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The NAT forwards nothing of this protocol out, or only to ``ports``."""

    nat: str
    protocol: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OverQuota:
    """A subscriber's mappings are all in use."""

    nat: str
    protocol: str
    quota: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No port is left."""

    nat: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Unmapped:
    """There is no mapping where the packet came."""

    nat: str
    external: Place


@dataclass(frozen=True, slots=True)
class Filtered:
    """Nothing had gone from ``external`` to ``remote``: its address, or its port there, too."""

    nat: str
    external: Place
    remote: Place
    by_port: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """The NAT's own WAN input accepted the packet."""

    nat: str


@dataclass(frozen=True, slots=True)
class Unrelated:
    """An error that belongs to no session."""

    nat: str


@dataclass(frozen=True, slots=True)
class NoHairpin:
    """The NAT does not hairpin."""

    nat: str


@dataclass(frozen=True, slots=True)
class Unheard:
    """Nobody listens there."""

    place: Place


@dataclass(frozen=True, slots=True)
class LostOnLink:
    """A link loses every packet."""


@dataclass(frozen=True, slots=True)
class Unrouted:
    """There is no route to this inside address."""

    address: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Dropped for ``why``, and the sender gets an answer."""

    why: Unmapped | Filtered
    answer: Answer


Drop = (
    Unfollowed
    | Blocked
    | OverQuota
    | Exhausted
    | Unmapped
    | Filtered
    | Taken
    | Unrelated
    | NoHairpin
    | Unheard
    | LostOnLink
    | Unrouted
    | Answered
)


# -- what let a packet through, or changed where it seems to come from ------------


@dataclass(frozen=True, slots=True)
class MappedAnew:
    """Another port for the second destination."""

    nat: str


@dataclass(frozen=True, slots=True)
class Remapped:
    """The port was in use towards ``remote``, by ``holder``; None: by the router itself."""

    nat: str
    internal: Place
    remote: Place
    holder: Place | None


@dataclass(frozen=True, slots=True)
class InSession:
    """A session that ``internal`` opened to ``remote``."""

    nat: str
    internal: Place
    remote: Place


@dataclass(frozen=True, slots=True)
class Forwards:
    """The NAT forwards this port."""

    nat: str
    port: int
    target: Place


@dataclass(frozen=True, slots=True)
class Hairpins:
    """The packet is from inside."""

    nat: str
    internal: Place


@dataclass(frozen=True, slots=True)
class AdmitsAll:
    """The filter lets anybody in."""

    nat: str
    external: Place


@dataclass(frozen=True, slots=True)
class AdmitsContacted:
    """The filter goes by address, and ``external`` has sent there."""

    nat: str
    external: Place
    address: str


Note = MappedAnew | Remapped | InSession | Forwards | Hairpins | AdmitsAll | AdmitsContacted


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a packet did not arrive, and what NATs had done with it before."""

    notes: tuple[Note, ...]
    drop: Drop


# -- the trace -------------------------------------------------------------------


class Kind(StrEnum):
    """What a packet of the model is."""

    DATAGRAM = "datagram"
    SYN = "SYN"
    SYN_ACK = "SYN-ACK"
    ACK = "ACK"
    DATA = "segment"
    RESET = "RST"
    UNREACHABLE = "ICMP port unreachable"


class Verb(StrEnum):
    """What happened to it."""

    LEAVES = "leaves"  # a NAT, translated
    ENTERS = "enters"  # a NAT, from outside
    ARRIVES = "arrives"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One event of the model.  Two are equal if they differ in time alone.

    ``node`` and ``place`` are the NAT, and the external endpoint by which it was left or
    the internal one for which it was entered.
    """

    kind: Kind
    message: str | None  # the name of the program's message in it
    source: Place
    destination: Place
    verb: Verb
    node: str | None = None
    place: Place | None = None
    drop: Drop | None = None
    seconds: float = field(default=0.0, compare=False)


# -- what decides a prediction -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class NobodySends:
    """Neither is to send anything."""

    dialer: str
    listener: str


@dataclass(frozen=True, slots=True)
class Unlearned:
    """``host`` learns no mapped address.  ``loss`` None: there was no answer."""

    host: str
    protocol: str
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class Unrelayed:
    """Hosts that do not reach the relay, and why."""

    losses: tuple[tuple[str, Loss | None], ...]


@dataclass(frozen=True, slots=True)
class Unobserved:
    """A host that does not reach an observer, and why: it ends before it has begun."""

    host: str
    observer: str
    why: Loss | None


@dataclass(frozen=True, slots=True)
class UpgradesOff:
    """Upgrades are switched off."""


@dataclass(frozen=True, slots=True)
class DirectOff:
    """Direct paths are switched off."""


@dataclass(frozen=True, slots=True)
class Passed:
    """``origin`` gets through, for these notes; without any nothing stands between them."""

    origin: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class CheckAnswered:
    """ICE's check of ``remote`` is answered; without notes nothing stands between them."""

    remote: Place
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Climbed:
    """The rung of the ladder that holds, or of DCUtR, there with the attempt's number."""

    rung: Rung
    passed: Passed
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class WayLost:
    """What became of the last packet from ``origin`` to ``target``."""

    origin: str
    target: Place
    loss: Loss


class Silence(StrEnum):
    """Why there is nothing to tell of any packet."""

    NONE_REACHED = "none_reached"
    NO_OPENING = "no_opening"
    NO_CHECK = "no_check"


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing came through; ``silence`` tells of what, where no way is known."""

    ways: tuple[WayLost | Unlearned, ...]
    silence: Silence
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class NoRelay:
    """``host`` reaches no relay."""

    host: str
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class GaveUp:
    """``host`` gave up pairs of ICE, and checks none of them again."""

    host: str


@dataclass(frozen=True, slots=True)
class NotEvenRelayed:
    """No direct path, for ``reason``, and no relayed one."""

    reason: DirectOff | Lost
    lacks: tuple[NoRelay | GaveUp, ...]


@dataclass(frozen=True, slots=True)
class Raced:
    """It may end otherwise, too, if one side is so many ms ahead."""

    reason: "Reason"
    race: tuple[Outcome, ...]
    ahead_ms: float


@dataclass(frozen=True, slots=True)
class ByChance:
    """What links do by chance decides, as ``chances`` has it; ``sure`` is the end without it."""

    reason: "Reason"
    sure: Outcome
    chances: Chances


@dataclass(frozen=True, slots=True)
class Deviates:
    """``stack`` is known to do otherwise."""

    reason: "Reason"
    stack: str
    name: str
    date: str


@dataclass(frozen=True, slots=True)
class Stated:
    """The world's file expects it, whatever the model says."""

    model: Outcome
    reason: "Reason"
    within_s: float | None


Reason = (
    NobodySends
    | Unlearned
    | Unobserved
    | Unrelayed
    | UpgradesOff
    | DirectOff
    | Passed
    | CheckAnswered
    | Climbed
    | Lost
    | NotEvenRelayed
    | Raced
    | ByChance
    | Deviates
    | Stated
)
