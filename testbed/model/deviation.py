"""What a stack is known to do otherwise than the protocol: when, and what becomes of it.

A stack's folder has these as a file, ``deviations.toml``, which is validated by what is here.
"""

from typing import Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.model.behaviour import Allocation, Filtering, Mapping, Transport
from testbed.model.breach import Breach, BreachKind
from testbed.model.chances import Chances
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome, Rung, StepName
from testbed.model.version import Built

FEWEST = 10  # cells of which a rate is told
T = TypeVar("T")
Ends = tuple[str, str]
End = Literal["a", "b"]  # the role of the dialer, that of the listener
ENDS: tuple[End, End] = ("a", "b")  # what their hosts are called, too, if a world names none


class Case(FrozenValue):
    """A cell as deviations see it; the NATs' sides are those of the cell's transport.

    ``built``: the versions of its two stacks, those of them that are known.  ``leads``: whether
    the address by which one is seen leads the other to it, as it does not behind a NAT that both
    share and that does not hairpin.  ``rung``: by which the oracle has it go direct, where its
    mechanism climbs a ladder.  ``dialer_reached`` and ``listener_reached``: whether that end's own
    address leads the other to it, with no NAT in between: a public one, or in one's own network.
    ``dialer_public`` and ``listener_public``: whether it is a public one, which not every stack
    tells others.
    """

    dialer: str  # the names of the stacks
    listener: str
    quic: bool
    dialer_nat: Transport
    listener_nat: Transport
    outcome: Outcome
    built: tuple[Built, ...] = ()
    leads: bool = True
    rung: Rung | None = None
    dialer_reached: bool = False
    listener_reached: bool = False
    dialer_public: bool = False
    listener_public: bool = False


class _Read(BaseModel):
    """A part of a file: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Besides(_Read, Generic[T]):
    """Any value but these."""

    besides: tuple[T, ...] = Field(alias="not", min_length=1)


class NatMatch(_Read):
    """A NAT, on one transport.  An axis that is left out may have any value."""

    mapping: tuple[Mapping, ...] | Besides[Mapping] | None = None
    filtering: tuple[Filtering, ...] | Besides[Filtering] | None = None
    allocation: tuple[Allocation, ...] | Besides[Allocation] | None = None

    def fits(self, nat: Transport) -> bool:
        """Whether ``nat`` is such a one."""
        return (
            _among(nat.mapping, self.mapping)
            and _among(nat.filtering, self.filtering)
            and _among(nat.allocation, self.allocation)
        )


class Match(_Read):
    """Cells.  What is left out may have any value.

    Stacks are named without their transport: ``go`` is go-tcp or go-quic, as the cell has it.
    """

    transport: Literal["tcp", "quic"] | None = None
    dialer: tuple[str, ...] | Besides[str] | None = None
    listener: tuple[str, ...] | Besides[str] | None = None
    dialer_nat: NatMatch = NatMatch()
    listener_nat: NatMatch = NatMatch()
    outcome: tuple[Outcome, ...] | Besides[Outcome] | None = None
    rung: tuple[Rung, ...] | None = None
    dialer_reached: bool | None = None
    listener_reached: bool | None = None
    dialer_public: bool | None = None
    listener_public: bool | None = None

    @property
    def at_own_address(self) -> bool:
        """Whether an end is met at its own address, which no NAT has to lead to."""
        return bool(self.dialer_reached or self.listener_reached)

    def fits(self, case: Case) -> bool:
        """Whether ``case`` is one of them."""
        transport = "quic" if case.quic else "tcp"
        return (
            self.transport in (None, transport)
            and _among(case.dialer.removesuffix(f"-{transport}"), self.dialer)
            and _among(case.listener.removesuffix(f"-{transport}"), self.listener)
            and _among(case.outcome, self.outcome)
            and _among(case.rung, self.rung)
            and self.dialer_reached in (None, case.dialer_reached)
            and self.listener_reached in (None, case.listener_reached)
            and self.dialer_public in (None, case.dialer_public)
            and self.listener_public in (None, case.listener_public)
            and self.dialer_nat.fits(case.dialer_nat)
            and self.listener_nat.fits(case.listener_nat)
        )


def _among(value: T, wanted: tuple[T, ...] | Besides[T] | None) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Besides):
        return value not in wanted.besides
    return value in wanted


class Pattern(_Read):
    """Breaches of one kind.  A field that is None may have any value.

    ``role``: whose breach it is, the dialer's (a) or the listener's (b), whatever their hosts are
    called.
    """

    kind: BreachKind
    role: End | None = None
    step: StepName | None = None
    claimed: Outcome | None = None
    measured: Outcome | None = None

    def fits(self, breach: Breach, ends: Ends = ENDS) -> bool:
        """Whether ``breach`` is one of them; ``ends``: the hosts of the dialer and the listener."""
        found, wanted = vars(breach), self.model_dump(exclude_none=True)
        if role := wanted.pop("role", None):
            wanted["node"] = dict(zip(ENDS, ends, strict=True))[role]
        return all(found.get(name) == value for name, value in wanted.items())

    def overlaps(self, other: "Pattern") -> bool:
        """Whether one breach may be of both, as far as its kind and whose it is tell."""
        roles = {self.role, other.role} - {None}
        return self.kind is other.kind and len(roles) < 2


class Seen(_Read):
    """How often cells ended how, of those in which a deviation was measured."""

    direct: int = Field(0, ge=0)
    relayed: int = Field(0, ge=0)
    none: int = Field(0, ge=0)

    @property
    def chances(self) -> Chances:
        """The rates, which are as sure as their count."""
        runs = self.direct + self.relayed + self.none
        return Chances(runs, self.direct, self.relayed, self.none)

    @model_validator(mode="after")
    def _require_many(self) -> Self:
        if self.chances.runs < FEWEST:
            raise ValueError(f"a rate takes {FEWEST} cells or more")
        return self


class Dials(_Read):
    """How often the dialer (a) and the listener (b) dial at the least; None: as prescribed."""

    a: int | None = Field(default=None, ge=0)
    b: int | None = Field(default=None, ge=0)


class Deviation(_Read):
    """One of them.  ``breaches``: what the verdict finds wrong by it, any of these.

    ``seen`` is in place of ``outcome`` where a stack does not end in one way: repetitions are held
    to these rates.  ``dials`` is for cells that stay relayed, where an end dials the other less
    than the mechanism prescribes, or not at all.  ``raced``: who of the two is first decides
    whether a run shows any of the breaches, so that none of them is missing.

    None where packets show nothing that is wrong.  One may bring on the next, and so they are
    tried in the order of ``order``.
    """

    name: str = Field(min_length=1)
    stack: str = ""  # the folder that it stands in
    order: int
    versions: tuple[str, ...] = Field(min_length=1)  # in which it was seen
    when: tuple[Match, ...] = Field(min_length=1)  # any of these
    unless: tuple[Match, ...] = ()  # and none of these, where what it is caused by is not so
    outcome: Outcome | None = None  # instead of the predicted one, if that changes
    seen: Seen | None = None
    breaches: tuple[Pattern, ...] = ()
    raced: bool = False
    dials: Dials = Dials()
    cause: str = Field(min_length=1)
    link: str = Field(pattern="^https://")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")  # when it was last confirmed

    def condition(self, case: Case) -> bool:
        """Whether the stack deviates in ``case``.

        Where nothing gets in, nothing goes direct, but to an end's own address.
        """
        if any(one.fits(case) for one in self.unless):
            return False
        shut = self.outcome is Outcome.DIRECT and not case.leads
        return any(one.fits(case) for one in self.when if one.at_own_address or not shut)

    def leads_to(self, outcome: Outcome, ended: Outcome | None = None) -> Outcome:
        """What becomes of ``outcome``; of a deviation with rates, as a cell ``ended``."""
        if self.seen is None:
            return self.outcome or outcome
        chances = self.seen.chances
        return ended if ended is not None and chances.count(ended) else chances.likeliest

    def covers(self, case: Case) -> bool:
        """Whether it was seen in a version that the case has of its stack."""
        versions = {end.version for end in case.built if end.stack == self.stack}
        return not versions or not versions.isdisjoint(self.versions)


class DeviationFile(_Read):
    """``deviations.toml``."""

    deviation: tuple[Deviation, ...] = Field(min_length=1)
