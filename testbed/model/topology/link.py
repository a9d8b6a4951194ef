"""A link: what it does to frames, and the conditions that a user puts over the world's."""

from dataclasses import fields, replace
from typing import Any

from testbed.errors import TopologyError
from testbed.model.frozen import FrozenValue

SMALLEST_MTU = 576  # that every host must take (RFC 791); Linux refuses less than 68


class Impairment(FrozenValue):
    """What a link does to frames in one direction."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # each frame is delayed by delay +- uniform(jitter), order kept
    loss: float = 0.0  # probability, 0..1
    rate_mbit: float | None = None
    burst: float | None = None  # frames that are lost in a row, on average; None: independently
    reorder: float = 0.0  # probability that a frame is not delayed, and so overtakes
    duplicate: float = 0.0  # probability that a frame comes twice
    queue_ms: float = 200.0  # what may wait for a line of limited rate; more is dropped
    largest: int | None = None  # bytes of an IP packet; a longer one vanishes without an answer

    def __post_init__(self) -> None:
        if self.delay_ms < 0 or self.jitter_ms < 0 or self.jitter_ms > self.delay_ms:
            raise TopologyError(
                f"delay {self.delay_ms} ms +- {self.jitter_ms} ms: need 0 <= jitter <= delay"
            )
        if not 0 <= self.loss <= 1:
            raise TopologyError(f"loss {self.loss}: a probability between 0 and 1 is needed")
        if self.rate_mbit is not None and self.rate_mbit <= 0:
            raise TopologyError(f"rate {self.rate_mbit} Mbit/s: a positive number is needed")
        self._require_sense()

    def _require_sense(self) -> None:
        for name in ("reorder", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise TopologyError(f"{name}: a probability between 0 and 1 is needed")
        if self.burst is not None and not (self.burst >= 1 and 0 < self.loss < 1):
            raise TopologyError(f"burst {self.burst:g}: 1 frame or more, of a loss between 0 and 1")
        if self.reorder and not self.delay_ms:
            raise TopologyError("reorder: where nothing is delayed, nothing overtakes")
        if self.queue_ms <= 0:
            raise TopologyError(f"queue {self.queue_ms:g} ms: a positive number is needed")
        if self.largest is not None and self.largest < SMALLEST_MTU:
            raise TopologyError(f"largest {self.largest}: IPv4 needs {SMALLEST_MTU} (RFC 791)")

    @property
    def transparent(self) -> bool:
        """True when frames pass as on a bare wire."""
        return self == Impairment()

    @property
    def by_chance(self) -> bool:
        """Whether frames that are alike may fare differently."""
        return 0 < self.loss < 1 or bool(self.jitter_ms or self.reorder or self.duplicate)


class Link(FrozenValue):
    """A node's attachment: ``up`` leaves the node, ``down`` comes towards it.

    ``mtu`` is that of the interfaces at its two ends; who sends more is told so by ICMP.
    """

    up: Impairment = Impairment()
    down: Impairment = Impairment()
    mtu: int | None = None  # bytes of an IP packet; None: Ethernet's 1500

    @classmethod
    def both(cls, **impairment: Any) -> "Link":
        """The same impairment in both directions; keywords as in `Impairment`."""
        one = Impairment(**impairment)
        return cls(one, one)

    @property
    def transparent(self) -> bool:
        """True when frames pass as on a bare wire; its MTU is the interfaces' affair."""
        return self.up.transparent and self.down.transparent


class Conditions(FrozenValue):
    """What holds for the link of every node on the internet, in both its directions.

    None leaves a link as its world has it.  ``link`` is one of the catalogue
    (`testbed.model.links`), which stands for the world's of each home; the others change it.
    """

    delay_ms: float | None = None
    jitter_ms: float | None = None
    loss: float | None = None
    rate_mbit: float | None = None
    mtu: int | None = None
    link: str | None = None

    def over(self, link: Link) -> Link:
        """``link`` under these conditions; TopologyError where they cannot be."""
        ways = ("delay_ms", "jitter_ms", "loss", "rate_mbit")
        said = {name: value for name in ways if (value := getattr(self, name)) is not None}
        up, down = (replace(way, **said) for way in (link.up, link.down))
        return Link(up, down, link.mtu if self.mtu is None else self.mtu)

    @property
    def name(self) -> str:
        """For the names of cells: ``.delay-50.loss-0.1``, ``.link-lte``."""
        told = ((one.name.partition("_")[0], getattr(self, one.name)) for one in fields(self))
        said = ((key, value) for key, value in told if value is not None)
        return "".join(
            f".{key}-{value if isinstance(value, str) else format(value, 'g')}"
            for key, value in said
        )


AS_IT_IS = Conditions()
