"""What happens to a path, and what the model expects to become of it."""

from dataclasses import field

from testbed.model.frozen import FrozenValue
from testbed.model.life import Fate, FileExpects, LifeReason, Timers
from testbed.model.network_fault import Fault


class Course(FrozenValue):
    """The faults of one life, each with its time after the first, and the stack's timers."""

    faults: tuple[tuple[float, Fault], ...] = ()
    timers: Timers = field(default_factory=Timers)


class Expected(FrozenValue):
    """``low`` and ``high`` bound the gap in the echo, in seconds; both 0 where it is lost.

    ``moved``: the internet sees the dialer at another address or port than before.
    """

    fate: Fate
    low: float
    high: float
    why: LifeReason
    moved: bool = False

    @property
    def stated(self) -> bool:
        """Whether it is the world's file that says so, and not the model."""
        return isinstance(self.why, FileExpects)

    def admits(self, fate: Fate) -> bool:
        """Whether ``fate`` is as expected; a file says by which path alone, old or new."""
        direct = (Fate.SURVIVES, Fate.DIRECT)
        return fate is self.fate or (self.stated and self.fate in direct and fate in direct)

    def __str__(self) -> str:
        if self.fate is Fate.LOST:
            return self.fate.value
        return f"{self.fate} in {self.low:.1f}-{self.high:.1f} s"
