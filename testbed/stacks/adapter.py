"""How one stack is started, and what it can do."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from testbed.model.autonat_agent import UNREAD_AUTONAT, AutonatAgent
from testbed.model.frozen import FrozenValue
from testbed.model.ice_agent import UNREAD, IceAgent
from testbed.model.lab import Capability, Confinement, Image
from testbed.stacks.programs import Program
from testbed.stacks.reading import interpreter

Contract = Literal["lines", "unified"]  # testbed.model.contract, testbed.stacks.unified
Role = Literal["relay", "autonat_server", "autonat_client"]  # beside being an end
# What a stack may heed of `Configure`, beside what all do; and that its relay sells forwarding.
Feature = Literal["keep", "announce", "also", "extra_time", "patience", "limits", "rent"]
Need = Literal["stun", "turn", "relay", "observers"]  # the last two: libp2p nodes
LEAST_DATAGRAM = 1200  # RFC 9000 section 14.1
UNPRIVILEGED = 1024  # the first port that takes no right to listen at
SUFFIX = {"tcp": "tcp", "udp": "quic"}  # of a libp2p stack's name, by transport


class Opening(FrozenValue):
    """How a stack opens a connection of QUIC: by which packets, and whose answers it takes."""

    datagram: int = LEAST_DATAGRAM  # bytes of UDP payload
    whole: bool = False  # never sent in fragments, whatever is said of the way
    elsewhere: bool = False  # answers count wherever they come from, against RFC 9000 section 9


SHORTEST = Opening()


class Adapter(FrozenValue):
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
    opening: Opening = SHORTEST
    older: bool = False  # a release that is there to show regressions
    contract: Contract = "lines"
    roles: frozenset[Role] = frozenset()  # that it can play beside being an end
    features: frozenset[Feature] = frozenset()
    folder: str = ""  # of `images`, where it has one
    reads: tuple[Path, ...] = ()  # files and folders that its program sees besides its own
    capabilities: tuple[Capability, ...] = ()  # that it is given over its node
    confined: bool = True  # not so where the bench has it measured by a program of its own

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

    def confinement(self, port: int) -> Confinement | None:
        """Within which it runs at ``port``: it sees its own program, and what is declared.

        A low port is the world's, of which no manifest knows.
        """
        if not self.confined:
            return None
        low = (Capability.NET_BIND_SERVICE,) if port < UNPRIVILEGED else ()
        capabilities = tuple(dict.fromkeys((*self.capabilities, *low)))
        if isinstance(self.entry, Image):
            return Confinement(capabilities=capabilities)
        own = self.entry.files() if isinstance(self.entry, Program) else interpreter()
        return Confinement((*own, *self.reads), capabilities)

    def prepare(self) -> None:
        """Before many forks: warm; UnfitError, saying how to build it, if it is not built."""
        self.command()
        self.warm()


class Main(FrozenValue):
    """The ``main`` of a module: a function for a fork, a program where Python has this package."""

    module: str

    def __call__(self) -> int:
        code: int = importlib.import_module(self.module).main()
        return code

    @property
    def argv(self) -> tuple[str, ...]:
        """For a container, whose own Python runs it."""
        return ("python3", "-m", "testbed.stacks", self.module)


class Warm(FrozenValue):
    """Imports a module."""

    module: str

    def __call__(self) -> None:
        importlib.import_module(self.module)
