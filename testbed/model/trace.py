"""What happened to packets in the network model: where they went, and what NATs did with them.

A `Note` is something that a NAT did which lets a packet through, a `Drop` something that
ended its way.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import NamedTuple


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
    """Whether ``fact``, a value of the network model, has a `Drawn` port anywhere in it."""
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
class TooLong:
    """A link swallows what is longer than ``largest`` bytes."""

    length: int
    largest: int


@dataclass(frozen=True, slots=True)
class NotFragmented:
    """A link carries ``mtu`` bytes, its end says so, and the sender forbids fragments."""

    length: int
    mtu: int


OfLength = TooLong | NotFragmented


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
    | TooLong
    | NotFragmented
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
class Exposes:
    """The NAT leads there what nothing else takes."""

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


Note = (
    MappedAnew | Remapped | InSession | Forwards | Exposes | Hairpins | AdmitsAll | AdmitsContacted
)


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
