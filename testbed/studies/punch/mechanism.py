"""What a mechanism is: all that the testbed knows of one way for two stacks to meet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.evidence.account import WireAccount
from testbed.model.breach import Breach
from testbed.model.contract import Mode
from testbed.model.ice_agent import IceAgent
from testbed.model.life import Transport
from testbed.model.outcome import Outcome, Rung, RungReading
from testbed.predict.model import Model
from testbed.stacks.registry import Contract, Need, Role
from testbed.verdict.tried import Tries

PUNCH = "punch"  # the mode that is the experiment; every other one is a control
End = Literal["dialer", "listener"]


@dataclass(frozen=True)
class Deadlines:
    """Seconds that the harness waits.  Peers have shorter ones of their own: these catch a hang."""

    gathering: float = 20.0
    connecting: float = 15.0
    upgrading: float = 12.0
    leaving: float = 3.0
    echoing: float = 20.0
    closing: float = 5.0


USUAL = Deadlines()
# Where packets get lost, each of three attempts at an upgrade may be signalled for 10 s.
PATIENT = Deadlines(upgrading=50.0, leaving=8.0)


@dataclass(frozen=True)
class Taken:
    """What was recorded of one attempt, as its steps are read."""

    wire: WireAccount
    ends: tuple[str, str]  # the nodes of the dialer and of the listener
    outcome: Outcome  # as the wire has it
    predicted: Rung | None


def no_steps(_taken: Taken, _rung: RungReading | None) -> Sequence[Breach]:
    """Of a mechanism whose steps cannot be seen or have no rules."""
    return ()


@dataclass(frozen=True)
class Play:
    """A mechanism in one mode: what peers are told, what is expected, and how it is checked."""

    model: Model
    senders: tuple[End, ...] = ()  # who must be seen to send, for an attempt to be one
    mode: Mode = Mode.PUNCH  # as the contract has it
    relay_only: bool = False
    check: Callable[[Taken, RungReading | None], Sequence[Breach]] = no_steps
    tries: Tries | None = None  # of each of ``senders``, where no connection comes of it


@dataclass(frozen=True)
class Mechanism:
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
    climbed: Callable[[Taken], RungReading] | None = None
    deadlines: Deadlines = USUAL
    carries: Transport | None = None  # what the model of lives has for its connections, if any

    @property
    def controls(self) -> tuple[str, ...]:
        """The modes in which what must fail, fails."""
        return tuple(mode for mode in self.modes if mode != PUNCH)
