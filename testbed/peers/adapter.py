"""The stacks under test, by name.  Nothing heavy is imported before a peer starts.

To add one: a module with a `testbed.peers.session.Stack` (or any program that speaks
`testbed.peers.contract`) and one entry in `ADAPTERS`.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from testbed.errors import UsageError

Mechanism = Literal["punch_udp", "punch_tcp", "ice", "dcutr_tcp", "dcutr_quic"]
Need = Literal["stun", "turn", "relay", "observers"]  # the last two: libp2p nodes


@dataclass(frozen=True)
class Adapter:
    """How one stack is started, and what the lab must have for it.

    ``entry`` runs in a forked child with pipes on descriptors 0, 1 and 2 and gives
    the exit code.  ``warm`` imports what ``entry`` needs: called once before many
    forks, it saves each child that time; it starts no thread and no event loop.
    """

    name: str
    mechanism: Mechanism  # what the oracle predicts by
    transport: Literal["udp", "tcp"]  # of the connection between the peers
    entry: Callable[[], int]
    warm: Callable[[], None]
    needs: frozenset[Need] = frozenset()
    topology: str = "two-homes"  # the preset that it is tried in where none is named

    @property
    def relays(self) -> bool:
        """Whether a connection through a relay is to be had where no direct one is."""
        return bool(self.needs & {"turn", "relay"})


def registry(adapters: Iterable[Adapter]) -> Mapping[str, Adapter]:
    """The adapters by name, read-only; UsageError if two have the same."""
    by_name: dict[str, Adapter] = {}
    for adapter in adapters:
        if adapter.name in by_name:
            raise UsageError(f"two peer adapters are called {adapter.name!r}")
        by_name[adapter.name] = adapter
    return MappingProxyType(by_name)


def adapter(name: str) -> Adapter:
    """The adapter called ``name``; UsageError with the known names if there is none."""
    try:
        return ADAPTERS[name]
    except KeyError:
        known = ", ".join(ADAPTERS)
        raise UsageError(f"unknown peer {name!r}", remedy=f"one of: {known}") from None


def _entry(module: str) -> Callable[[], int]:
    def run() -> int:
        code: int = importlib.import_module(module).main()
        return code

    return run


def _warm(module: str) -> Callable[[], None]:
    def load() -> None:
        importlib.import_module(module)

    return load


def _python(
    name: str,
    mechanism: Mechanism,
    transport: Literal["udp", "tcp"],
    *needs: Need,
) -> Adapter:
    """An adapter whose stack is the module of that mechanism in this package."""
    module = f"testbed.peers.{mechanism}"
    return Adapter(name, mechanism, transport, _entry(module), _warm(module), frozenset(needs))


def _traversal(name: str, mechanism: Mechanism, transport: Literal["udp", "tcp"]) -> Adapter:
    """Our own stack, `testbed.traversal`, with the lab's nodes on the same."""

    def warm() -> None:
        importlib.import_module("testbed.peers.infrastructure").warm()

    needs: frozenset[Need] = frozenset({"relay", "observers"})
    entry = _entry("testbed.peers.traversal")
    return Adapter(name, mechanism, transport, entry, warm, needs, "libp2p")


ADAPTERS: Mapping[str, Adapter] = registry(
    (
        _python("punch-udp", "punch_udp", "udp", "stun"),
        _python("punch-tcp", "punch_tcp", "tcp", "stun"),
        _python("ice", "ice", "udp", "stun", "turn"),
        _traversal("traversal-tcp", "dcutr_tcp", "tcp"),
        _traversal("traversal-quic", "dcutr_quic", "udp"),
    )
)
