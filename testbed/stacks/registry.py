"""The stacks under test, by name.  Nothing heavy is imported before a peer starts.

Each has a folder with a manifest, ``images/NAME/stack.toml`` (`testbed.stacks.folders`).

A cell has two stacks, which may differ: ``ice+pion`` is aioice that dials and pion
that is dialed, ``ice`` is aioice at both ends.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.ice_agent import IceAgent
from testbed.naming import instead
from testbed.stacks.adapter import SUFFIX as SUFFIX
from testbed.stacks.adapter import Adapter as Adapter
from testbed.stacks.adapter import Contract as Contract
from testbed.stacks.adapter import Feature as Feature
from testbed.stacks.adapter import Main as Main
from testbed.stacks.adapter import Need as Need
from testbed.stacks.adapter import Role as Role

BETWEEN = "+"  # the names of two stacks
BY = "@"  # what relays, after them
OURS = "traversal"


class Stacks(FrozenValue):
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


class _Known(MutableMapping[str, Adapter]):
    """The stacks of the folders, which are read when the first is asked for; and those added."""

    @cached_property
    def _by_name(self) -> dict[str, Adapter]:
        from testbed.stacks.folders import adapters  # here, for it takes pydantic

        return dict(registry(adapters()))

    def __getitem__(self, name: str) -> Adapter:
        return self._by_name[name]

    def __setitem__(self, name: str, one: Adapter) -> None:
        self._by_name[name] = one

    def __delitem__(self, name: str) -> None:
        del self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


_KNOWN = _Known()
ADAPTERS: Mapping[str, Adapter] = MappingProxyType(_KNOWN)


def add(one: Adapter) -> None:
    """Make a stack known to this process; UsageError if its name is taken or no name."""
    _KNOWN.update(registry((*_KNOWN.values(), one)))
