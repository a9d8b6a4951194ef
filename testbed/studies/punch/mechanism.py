"""What a mechanism is: all that the testbed knows of one way for two stacks to meet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from testbed.evidence.account import WireAccount
from testbed.model.breach import Breach, TriedLittle
from testbed.model.contract import Mode
from testbed.model.frozen import FrozenValue
from testbed.model.ice_agent import IceAgent
from testbed.model.life import Transport
from testbed.model.outcome import Outcome, Rung, RungReading
from testbed.predict.model import Model
from testbed.stacks.registry import Contract, Feature, Need, Role
from testbed.verdict.tried import Tries
from testbed.verdict.tried_direct import Indirect

PUNCH = "punch"  # the mode that is the experiment; every other one is a control
End = Literal["dialer", "listener"]


class Deadlines(FrozenValue):
    """Seconds that the harness waits.  Peers have shorter ones of their own: these catch a hang."""

    gathering: float = 20.0
    connecting: float = 15.0
    upgrading: float = 12.0
    leaving: float = 3.0
    echoing: float = 20.0
    closing: float = 5.0

    def longer(self, by: float) -> "Deadlines":
        """Where the peers' own are longer, too."""
        return replace(
            self,
            gathering=self.gathering + by,
            connecting=self.connecting + by,
            upgrading=self.upgrading + ATTEMPTS * by,
            echoing=self.echoing + by,
            closing=self.closing + by,
        )


class Patience(FrozenValue):
    """How long an end tries that nobody answers, from its start: as long as an answer may take.

    That is what programs wait for besides the way, in seconds, and so many ``round_trips`` of
    the way between the ends.  Twenty of them are left to who starts as late as is still judged.
    """

    waits_s: float
    round_trips: int
    usual_s: float  # by the contract: an end that is told of none tries so long

    def seconds(self, round_trip_s: float, skew_ms: float) -> float:
        """For ends of which one starts ``skew_ms`` after the other; `usual_s` at the most."""
        way = max(LEAST_S, self.round_trips * round_trip_s)
        return min(self.usual_s, self.waits_s + way + abs(skew_ms) / 1000)


LEAST_S = 1.0  # of a way of any length: a machine may be busy

ATTEMPTS = 3  # of an upgrade, each of which may take the extra time

USUAL = Deadlines()
# Where packets get lost, each of three attempts at an upgrade may be signalled for 10 s.
PATIENT = Deadlines(upgrading=50.0, leaving=8.0)


class Taken(FrozenValue):
    """What was recorded of one attempt, as its steps are read."""

    wire: WireAccount
    ends: tuple[str, str]  # the nodes of the dialer and of the listener
    outcome: Outcome  # as the wire has it
    predicted: Rung | None
    connected: Outcome  # as it has the connection, whose echo may be too long for it


def no_steps(_taken: Taken, _rung: RungReading | None) -> Sequence[Breach]:
    """Of a mechanism whose steps cannot be seen or have no rules."""
    return ()


class Play(FrozenValue):
    """A mechanism in one mode: what peers are told, what is expected, and how it is checked."""

    model: Model
    senders: tuple[End, ...] = ()  # who must be seen to send, for an attempt to be one
    mode: Mode = Mode.PUNCH  # as the contract has it
    relay_only: bool = False
    check: Callable[[Taken, RungReading | None], Sequence[Breach]] = no_steps
    tries: Tries | None = None  # of each of ``senders``, where no connection comes of it
    # Which of ``senders`` tried too little, where no direct connection comes of it
    indirect: Callable[[Indirect], Sequence[TriedLittle]] | None = None


class Mechanism(FrozenValue):
    """One way for two stacks to meet.  Each is a file of `testbed.studies.punch.mechanisms`.

    ``begins`` is when a side's first packet to the other is due, in seconds after the common
    start; None where that is not known.  ``climbed`` reads the rung that carried the connection,
    where stacks climb a ladder.
    """

    name: str  # as ``--mechanism`` and a manifest have it
    transport: Literal["udp", "tcp"]  # of the connection between the peers
    offers: Literal["addresses", "ice", "multiaddrs"]  # the field of an offer that a peer dials
    needs: frozenset[Need]  # what the lab must have
    modes: Mapping[str, Play]  # the experiment, `PUNCH`, and the controls
    topology: str = "two-homes"  # the preset that it is tried in where none is named
    roles: frozenset[Role] = frozenset()  # that its stacks can play beside being an end
    contracts: frozenset[Contract] = frozenset({"lines"})  # by which its stacks can be driven
    begins: Callable[[IceAgent], float | None] = lambda _agent: None
    patience: Patience | None = None  # None: that of its stacks
    climbed: Callable[[Taken], RungReading] | None = None
    relay_features: frozenset[Feature] = frozenset()  # that its relay must have
    deadlines: Deadlines = USUAL
    clear: bool = True  # what its connections carry can be read on the wire
    carries: Transport | None = None  # what the model of lives has for its connections, if any

    @property
    def controls(self) -> tuple[str, ...]:
        """The modes in which what must fail, fails."""
        return tuple(mode for mode in self.modes if mode != PUNCH)
