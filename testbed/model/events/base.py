"""What all tables of events have: when something happens, and to which node."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from testbed.model.frozen import FrozenValue
from testbed.model.life import Timers
from testbed.model.network_fault import Fault
from testbed.model.table import Table, wrong
from testbed.model.topology import Link
from testbed.naming import instead

Moment = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
Span = Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]
Kind = Literal["router", "host", "node"]
CALLED = "The node's name, as `routers` or `hosts` has it."


class Attached(FrozenValue):
    """An interface of a node, as the kernel calls it."""

    name: str
    network: str
    tunnel: bool = False


class Names(FrozenValue):
    """What there is in a world."""

    routers: Sequence[str]
    hosts: Sequence[str]
    networks: Sequence[str]
    links: Mapping[str, Link]
    attached: Mapping[str, Sequence[Attached]]  # by node, in the order of declaration
    dns: str | None = None  # who answers names

    def interface(self, node: str, word: str) -> str:
        """The name of the node's interface ``word``, which may be its network's."""
        there = self.attached[node]
        return next((one.name for one in there if one.network == word), word)

    def of(self, kind: Kind) -> Sequence[str]:
        """The names of one kind of node."""
        known = {"router": self.routers, "host": self.hosts}
        return known.get(kind, (*self.routers, *self.hosts))


class EventTable(Table):
    """What all events have.  ``NODE`` is what `node` has to be, of events that have one."""

    NODE: ClassVar[Kind] = "node"

    at_s: Moment | None = Field(
        default=None, description="Seconds after the direct path has become steady."
    )
    past_patience_s: Moment | None = Field(
        default=None,
        description="In place of `at_s`: so long after stacks that hear nothing give up.",
    )

    def at(self, timers: Timers) -> float:
        """When it happens to stacks with these ``timers``, in seconds."""
        if self.at_s is not None:
            return self.at_s
        assert self.past_patience_s is not None  # `_timed` lets no other pass
        return timers.patience + self.past_patience_s

    def fault(self) -> Fault:
        """What is done to the network.  What a wire is then, `timeline` says."""
        raise NotImplementedError

    @property
    def later(self) -> tuple[tuple[float, Fault], ...]:
        """What is done some seconds after that."""
        return ()

    def require_known(self, names: Names, number: int) -> None:
        """An error for a node that the event, the ``number``-th of its world, cannot befall."""
        said = getattr(self, "node", None)
        known = names.of(self.NODE)
        if said is not None and said not in known:
            there = instead(said, known) if known else f"there is no {self.NODE}"
            raise event_wrong(f"no {self.NODE} is called {said!r}; {there}", number, "node")

    def require_interface(
        self, names: Names, number: int, word: str, key: str, *, wire: bool = False
    ) -> None:
        """An error at ``key`` for a ``word`` that is no one interface of the node, or no wire."""
        node = getattr(self, "node", "")
        there = names.attached[node]
        found = [one for one in there if one.network == word]
        if not found and word not in [one.name for one in there]:
            known = [*dict.fromkeys(one.network for one in there), *(one.name for one in there)]
            message = f"{node} has no interface on {word!r}; {instead(word, known)}"
            raise event_wrong(message, number, key)
        if len(found) > 1:
            several = ", ".join(one.name for one in found)
            raise event_wrong(f"{node} has several there; name one of {several}", number, key)
        if wire and any(one.tunnel and word in (one.network, one.name) for one in there):
            said = f"{word} is a tunnel, which has no wire of its own"
            raise event_wrong(said, number, key)

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if (self.at_s is None) == (self.past_patience_s is None):
            raise wrong("it happens at_s or past_patience_s: one of the two is needed")
        return self


def event_wrong(message: str, number: int, key: str) -> Exception:
    return wrong(message, "events", str(number), key)
