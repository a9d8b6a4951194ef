"""What each study knows of its case besides what every result has."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)

from testbed import foreign
from testbed.model.chances import Chances
from testbed.model.life import Fate, MomentKind
from testbed.model.outcome import Outcome, RungReading
from testbed.model.verdict import Judgement


def _utf8(text: object) -> object:
    """Peers may tell of half a surrogate pair, which is no text."""
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_utf8), AfterValidator(foreign.words)]
Name = Annotated[str, Field(pattern=r"^[^/]+/.+")]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Frozen(BaseModel):
    """A value of which nothing changes, and which has no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PunchDetails(Frozen):
    """The details of a hole punch; its measure is an `Outcome`."""

    MEASURES: ClassVar[frozenset[str]] = frozenset(Outcome)
    study: Literal["punch"] = "punch"
    rung: RungReading | None = None  # of stacks that climb the ladder
    chances: Chances | None = None  # of its ends, where links decide by chance


class Dialable(Frozen):
    """One external address: does a stranger get in there, and what does version 2 say of it?"""

    stranger: bool
    verdict: str


class Reached(Frozen):
    """Whether a stranger gets in anywhere, and what both versions of AutoNAT say of it."""

    stranger: bool
    v1: str
    v2: tuple[Dialable, ...]


class TransportSeen(Frozen):
    """One transport of a node behind a NAT."""

    transport: str
    judgement: Judgement
    measured: Reached | None
    predicted: Reached
    addresses: tuple[str, ...]
    notes: tuple[Text, ...]


class AutonatDetails(Frozen):
    """The details of an AutoNAT case; its measure names all transports."""

    study: Literal["autonat"] = "autonat"
    transports: tuple[TransportSeen, ...] = ()


class Rate(StrEnum):
    """How a measured rate of success lies beside theory's."""

    AS_THEORY = "as_theory"
    HIGHER = "higher"
    LOWER = "lower"


class OddsDetails(Frozen):
    """The details of a strategy against a hard NAT; its measure is a `Rate`."""

    MEASURES: ClassVar[frozenset[str]] = frozenset(Rate)
    study: Literal["odds"] = "odds"
    theory: float | None = None  # the chance of a hit
    runs: Count = 0
    hits: Count = 0
    bounds: tuple[float, float] | None = None  # of the rate behind ``hits`` of ``runs``
    late_s: Seconds = 0.0  # of the harness at worst
    most_packets: Count = 0  # that one side has sent in one run


class Swarming(StrEnum):
    """How a swarm at its relays lies beside what was foreseen."""

    AS_FORESEEN = "as_foreseen"
    OTHERWISE = "otherwise"


class Expectation(Frozen):
    """What is expected of a connection; the gap in the echo is in seconds."""

    fate: Fate
    low: Seconds
    high: Seconds
    moved: bool
    why: Text
    stated: bool = False  # by the world's file, and not by the model


class Spell(Frozen):
    """For how long the echo came back by one path; seconds after the first event."""

    start: float
    end: float
    relayed: bool
    at: Text  # the network where the dialer was


class LifeSeen(Frozen):
    """What the wire shows of it: ``packets`` passed the dialer's wire in the ``gap``."""

    fate: Fate
    gap: Seconds
    moved: bool | None
    packets: Count
    echoes: Count
    spells: tuple[Spell, ...] = ()


class Moment(Frozen):
    """What happened at ``seconds`` after the first fault (or before it), and in which packets."""

    seconds: float
    kind: MomentKind
    node: str
    said: Text = ""
    packets: tuple[Count, ...] = ()


class LifeDetails(Frozen):
    """The details of a life; its measure is a `Fate`."""

    MEASURES: ClassVar[frozenset[str]] = frozenset(Fate)
    study: Literal["life"] = "life"
    about: Text = ""  # what happens, in words
    silent: bool = False  # the application says nothing for a while
    expected: Expectation | None = None
    seen: LifeSeen | None = None
    timeline: tuple[Moment, ...] = ()
    slow: Seconds = 0.0  # by which the faults took longer than planned
    busy: Seconds = 0.0  # by which this machine was late at worst


class PairSeen(Frozen):
    """One pair of a swarm.  ``relay_bytes`` are frames at the relay that are of its two ends."""

    name: Text
    nats: tuple[Text, Text]
    measured: Outcome | None = None
    possible: tuple[Outcome, ...] = ()  # by the oracle, the likeliest first
    direct_after_s: Seconds | None = None  # from its start to the first packet of the other end
    trip_ms: Milliseconds | None = None  # a round trip, the median of several
    rate_mbit: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None  # of the echo
    relay: Text = ""
    relay_bytes: Count = 0
    relay_packets: Count = 0
    asked: Count = 0  # bytes of its work, and those that came back
    done: Count = 0
    finishes: bool | None = None  # by its way and the relay's limits; None: perhaps
    late_ms: Milliseconds = 0.0  # of the later of its punches, by what its ends tell

    @property
    def finished(self) -> bool:
        """Whether all its work was done."""
        return self.done == self.asked


class RelaySeen(Frozen):
    """What passed a relay's interface: by the recording, and by its kernel's own counters."""

    name: Text
    bytes: Count
    packets: Count
    counted_bytes: Count
    counted_packets: Count
    cpu_s: Seconds | None = None
    memory_bytes: Count | None = None  # at most
    flow: tuple[Count, ...] = ()  # bytes in each half second, from the first dial


class Foreseen(Frozen):
    """What the population and the oracle say of a swarm, before its NATs are drawn."""

    rate: tuple[float, float]  # of pairs that go direct; two, where chance or haste decides
    direct: tuple[int, int]  # pairs, least and most
    relay_bytes: tuple[int, int]


class RelaysDetails(Frozen):
    """The details of a swarm at its relays; its measure is `Swarming`."""

    MEASURES: ClassVar[frozenset[str]] = frozenset(Swarming)
    study: Literal["relays"] = "relays"
    population: Text = ""
    source: Text = ""
    foreseen: Foreseen | None = None
    pairs: tuple[PairSeen, ...] = ()
    relays: tuple[RelaySeen, ...] = ()
    late_s: Seconds = 0.0  # of this machine at worst

    @property
    def relay_bytes(self) -> int:
        """Through all relays together."""
        return sum(relay.bytes for relay in self.relays)

    @property
    def finished(self) -> int:
        """How many pairs got their work done."""
        return sum(pair.finished for pair in self.pairs)

    def count(self, outcome: Outcome) -> int:
        """How many pairs ended so."""
        return sum(pair.measured is outcome for pair in self.pairs)


class OwnDetails(Frozen):
    """What any other study knows of its case."""

    study: str
    values: dict[str, str | float | bool | None] = {}


def _kind(details: Any) -> str:
    """Which of the models below is meant."""
    known = details.get("study") if isinstance(details, dict) else details.study
    return known if known in _STUDIES else "own"


_STUDIES = ("punch", "autonat", "life", "odds", "relays")


Details = Annotated[
    Annotated[PunchDetails, Tag("punch")]
    | Annotated[AutonatDetails, Tag("autonat")]
    | Annotated[LifeDetails, Tag("life")]
    | Annotated[OddsDetails, Tag("odds")]
    | Annotated[RelaysDetails, Tag("relays")]
    | Annotated[OwnDetails, Tag("own")],
    Discriminator(_kind),
]
