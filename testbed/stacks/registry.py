"""The stacks under test, by name.  Nothing heavy is imported before a peer starts.

To add one: a module with a `testbed.stacks.session.Stack`, or any program that speaks
`testbed.model.contract` (`testbed.stacks.programs`), and one entry in `ADAPTERS`.

A cell has two stacks, which may differ: ``ice+pion`` is aioice that dials and pion
that is dialed, ``ice`` is aioice at both ends.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from testbed.errors import UsageError
from testbed.model.ice_agent import AIOICE, LIBNICE, PION, IceAgent
from testbed.model.lab import Image
from testbed.naming import instead
from testbed.stacks.programs import Program

Contract = Literal["lines", "unified"]  # testbed.model.contract, testbed.stacks.unified
Role = Literal["relay", "autonat_server", "autonat_client"]  # beside being an end
Need = Literal["stun", "turn", "relay", "observers"]  # the last two: libp2p nodes
BETWEEN = "+"  # the names of two stacks
BY = "@"  # what relays, after them
OURS = "traversal"
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
    agent: IceAgent = AIOICE  # of the mechanism ice: what it leaves to implementations
    older: bool = False  # a release that is there to show regressions
    contract: Contract = "lines"
    roles: frozenset[Role] = frozenset()  # that it can play beside being an end

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
class Stacks:
    """The two ends of a cell.  They use the same mechanism, and so understand each other."""

    dialer: Adapter
    listener: Adapter

    @property
    def name(self) -> str:
        """``ice``, or ``ice+pion`` where the ends differ; `stacks` reads it."""
        names = dict.fromkeys((self.dialer.name, self.listener.name))
        return BETWEEN.join(names)

    @property
    def both(self) -> tuple[Adapter, Adapter]:
        return self.dialer, self.listener

    @property
    def mechanism(self) -> str:
        return self.dialer.mechanism

    @property
    def transport(self) -> Literal["udp", "tcp"]:
        return self.dialer.transport

    @property
    def contract(self) -> Contract:
        return self.dialer.contract

    @property
    def agents(self) -> tuple[IceAgent, IceAgent]:
        return self.dialer.agent, self.listener.agent

    @property
    def needs(self) -> frozenset[Need]:
        """What the lab must have: all that one of them needs."""
        return self.dialer.needs | self.listener.needs

    def prepare(self) -> None:
        for one in self.both:
            one.prepare()


def registry(adapters: Iterable[Adapter]) -> Mapping[str, Adapter]:
    """The adapters by name, read-only; UsageError if two have the same."""
    by_name: dict[str, Adapter] = {}
    for adapter in adapters:
        if set(adapter.name) & {BETWEEN, BY, "/"}:
            raise UsageError(f"a peer cannot be called {adapter.name!r}: it is part of paths")
        if adapter.name in by_name:
            raise UsageError(f"two peer adapters are called {adapter.name!r}")
        by_name[adapter.name] = adapter
    return MappingProxyType(by_name)


def adapter(name: str) -> Adapter:
    """The adapter called ``name``; UsageError with the known names if there is none."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise UsageError(f"unknown peer {name!r}", remedy=instead(name, ADAPTERS)) from None


def stacks(name: str) -> Stacks:
    """The two stacks that ``name`` says: X, or X+Y with X the dialer.

    UsageError if one is unknown, or if they speak different protocols.
    """
    parts = name.split(BETWEEN)
    if len(parts) > 2:
        raise UsageError(f"{name!r} names {len(parts)} stacks", remedy="DIALER+LISTENER, or one")
    dialer, listener = adapter(parts[0]), adapter(parts[-1])
    if not compatible(dialer, listener):
        raise UsageError(
            f"{dialer.name} and {listener.name} do not understand each other: "
            f"{dialer.mechanism} and {listener.mechanism}",
            remedy="name two stacks of one mechanism and one contract",
        )
    return Stacks(dialer, listener)


def public(name: str, transport: Literal["udp", "tcp"], role: Role = "relay") -> Adapter:
    """The libp2p stack ``name`` (``go``) on ``transport``, which is to play ``role``.

    A stack of the user's is called ``name`` itself.  UsageError, with those that can, if there is
    none or it cannot.
    """
    able = {
        one.family: one
        for one in ADAPTERS.values()
        if one.transport == transport and one.plays(role)
    }
    if found := able.get(name) or able.get(name.removesuffix(f"-{SUFFIX[transport]}")):
        return found
    what = role.replace("autonat", "AutoNAT").replace("_", " ")
    families = {one.family for one in ADAPTERS.values()}
    if name in families or name in ADAPTERS:
        who = ", ".join(able)
        by = SUFFIX[transport].upper()
        raise UsageError(f"{name} is no {what} over {by}", remedy=f"one of: {who}")
    raise UsageError(f"unknown {what} {name!r}", remedy=instead(name, able))


def compatible(dialer: Adapter, listener: Adapter) -> bool:
    """Whether the two can be the ends of one cell."""
    ends = dialer, listener
    return len({(end.mechanism, end.transport, end.contract) for end in ends}) == 1


@dataclass(frozen=True)
class Main:
    """The ``main`` of a module: a function for a fork, a program where Python has this package."""

    name: str  # the adapter's
    module: str

    def __call__(self) -> int:
        code: int = importlib.import_module(self.module).main()
        return code

    @property
    def argv(self) -> tuple[str, ...]:
        """For a container, whose own Python runs it."""
        return ("python3", "-m", "testbed.stacks", self.name)


def _warm(module: str) -> Callable[[], None]:
    def load() -> None:
        importlib.import_module(module)

    return load


LIBP2P: frozenset[Need] = frozenset({"relay", "observers"})
PUBLIC: frozenset[Role] = frozenset(get_args(Role))
RUST = "Rust 1.88 or later and a C compiler"


def _python(
    name: str,
    mechanism: str,
    transport: Literal["udp", "tcp"],
    *needs: Need,
) -> Adapter:
    """An adapter whose stack is the module of that mechanism in this package."""
    module = f"testbed.stacks.{mechanism}"
    entry = Main(name, module)
    return Adapter(name, mechanism, transport, entry, _warm(module), frozenset(needs))


def _ice(name: str, agent: IceAgent, toolchain: str) -> Adapter:
    """An ICE stack that is a program of the same name."""
    needs: frozenset[Need] = frozenset({"stun", "turn"})
    program = Program(name, toolchain)
    return Adapter(name, "ice", "udp", program, needs=needs, agent=agent)


def _traversal(
    name: str,
    mechanism: str,
    transport: Literal["udp", "tcp"],
    module: str = "testbed.stacks.roles",
) -> Adapter:
    """Our own stack, `testbed.traversal`, with the lab's nodes on the same."""

    def warm() -> None:
        _warm_nodes()
        importlib.import_module(module)

    roles = PUBLIC if module == "testbed.stacks.roles" else frozenset[Role]()
    return Adapter(name, mechanism, transport, Main(name, module), warm, LIBP2P, roles=roles)


def _libp2p(
    name: str, program: str, toolchain: str, *lacks: Role, older: bool = False
) -> tuple[Adapter, Adapter]:
    """A libp2p stack that is a program: ``NAME-tcp`` and ``NAME-quic``."""
    entry = Program(program, toolchain)
    tcp = Adapter(f"{name}-tcp", "dcutr_tcp", "tcp", entry, _warm_nodes, LIBP2P)
    tcp = replace(tcp, roles=PUBLIC.difference(lacks))
    quic = replace(tcp, name=f"{name}-quic", mechanism="dcutr_quic", transport="udp")
    return replace(tcp, older=older), replace(quic, older=older)


def _warm_nodes() -> None:
    importlib.import_module("testbed.stacks.infrastructure").warm()


_KNOWN = dict(
    registry(
        (
            _python("punch-udp", "punch_udp", "udp", "stun"),
            _python("punch-tcp", "punch_tcp", "tcp", "stun"),
            _python("ice", "ice", "udp", "stun", "turn"),
            _ice("libnice", LIBNICE, "a C compiler and Debian's libnice-dev and libjson-glib-dev"),
            _ice("pion", PION, "Go 1.24 or later"),
            _traversal("traversal-tcp", "dcutr_tcp", "tcp"),
            _traversal("traversal-quic", "dcutr_quic", "udp"),
            _traversal("ladder-tcp", "ladder_tcp", "tcp", "testbed.stacks.ladder"),
            _traversal("ladder-quic", "ladder_quic", "udp", "testbed.stacks.ladder"),
            *_libp2p("go", "go-libp2p", "Go 1.26 or later"),
            *_libp2p("go-v0.46", "go-libp2p-v0.46", "Go 1.26 or later", older=True),
            *_libp2p("py", "py-libp2p", "a C compiler and Debian's python3-dev and libgmp-dev"),
            *_libp2p("rust", "rust-libp2p", RUST),
            *_libp2p("rust-v0.54", "rust-libp2p-v0.54", RUST, older=True),
            *_libp2p("js", "js-libp2p", "Node 18 or later with npm", "autonat_client"),
        )
    )
)
ADAPTERS: Mapping[str, Adapter] = MappingProxyType(_KNOWN)


def add(one: Adapter) -> None:
    """Make a stack known to this process; UsageError if its name is taken or no name."""
    _KNOWN.update(registry((*_KNOWN.values(), one)))
