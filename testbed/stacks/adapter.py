"""How one stack is started, and what it can do."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.model.autonat_agent import UNREAD_AUTONAT, AutonatAgent
from testbed.model.ice_agent import UNREAD, IceAgent
from testbed.model.lab import Image
from testbed.stacks.programs import Program

Contract = Literal["lines", "unified"]  # testbed.model.contract, testbed.stacks.unified
Role = Literal["relay", "autonat_server", "autonat_client"]  # beside being an end
Feature = Literal["keep", "announce", "also"]  # that a stack may have: of `Configure`
Need = Literal["stun", "turn", "relay", "observers"]  # the last two: libp2p nodes
SUFFIX = {"tcp": "tcp", "udp": "quic"}  # of a libp2p stack's name, by transport


@dataclass(frozen=True)
class Adapter:
    """How one stack is started, and what the lab must have for it.

    ``entry`` is a program, or a function that runs in a forked child with pipes on
    descriptors 0, 1 and 2 and gives the exit code, or an image.  ``warm`` imports what a function
    needs: called once before many forks, it saves each child that time; it starts no
    thread and no event loop.
    """

    name: str
    mechanism: str  # a name of `testbed.studies.punch.mechanisms`
    transport: Literal["udp", "tcp"]  # of the connection between the peers
    entry: Callable[[], int] | Program | Image
    warm: Callable[[], None] = lambda: None
    needs: frozenset[Need] = frozenset()
    agent: IceAgent = UNREAD  # of the mechanism ice: what it leaves to implementations
    autonat: AutonatAgent = UNREAD_AUTONAT  # of libp2p: how it asks, and how it answers
    older: bool = False  # a release that is there to show regressions
    contract: Contract = "lines"
    roles: frozenset[Role] = frozenset()  # that it can play beside being an end
    features: frozenset[Feature] = frozenset()

    @property
    def family(self) -> str:
        """A libp2p stack's name without its transport: ``go`` of ``go-tcp``."""
        return self.name.removesuffix(f"-{SUFFIX[self.transport]}")

    def plays(self, role: Role) -> bool:
        """Whether it can be that node, besides an end of a cell."""
        return role in self.roles

    def command(self) -> Callable[[], int] | Sequence[str] | Image:
        """What `testbed.model.lab.Lab.spawn` takes; UnfitError if it is not built."""
        return self.entry.argv() if isinstance(self.entry, Program) else self.entry

    def prepare(self) -> None:
        """Before many forks: warm; UnfitError, saying how to build it, if it is not built."""
        self.command()
        self.warm()


@dataclass(frozen=True)
class Main:
    """The ``main`` of a module: a function for a fork, a program where Python has this package."""

    module: str

    def __call__(self) -> int:
        code: int = importlib.import_module(self.module).main()
        return code

    @property
    def argv(self) -> tuple[str, ...]:
        """For a container, whose own Python runs it."""
        return ("python3", "-m", "testbed.stacks", self.module)


@dataclass(frozen=True)
class Warm:
    """Imports a module."""

    module: str

    def __call__(self) -> None:
        importlib.import_module(self.module)
