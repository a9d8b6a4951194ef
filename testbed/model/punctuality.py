"""How long this machine kept the harness and its peers from running, as the harness measured it.

What a peer sends, and when, says nothing of the machine: a peer that is late may be late by itself.
"""

from collections.abc import Mapping

from testbed.model.frozen import FrozenValue


class Look(FrozenValue):
    """One look of the harness at the clock and at its peers."""

    at_ns: int  # capture time
    late_ns: int  # how much later than the harness wanted to look
    # Node -> how long its processes were ready to run and had no processor, in ns since they
    # began.  A node of which the kernel does not tell is left out.
    waited_ns: Mapping[str, int]


class Punctuality(FrozenValue):
    """All looks of one attempt, in order of time; none where the harness did not look."""

    looks: tuple[Look, ...] = ()

    @property
    def end_ns(self) -> int | None:
        """When the harness looked for the last time."""
        return self.looks[-1].at_ns if self.looks else None

    def held_up_ms(self, node: str, since_ns: float, until_ns: float) -> float:
        """How long the machine can have kept ``node`` from running between two instants, at most.

        It is the longer of the time in which the node's processes waited for a processor and of
        the harness's own lateness, from the last look before to the first look after.
        """
        if not self.looks:
            return 0.0
        earlier = [look for look in self.looks if look.at_ns <= since_ns]
        later = [look for look in self.looks if look.at_ns >= until_ns]
        first = earlier[-1] if earlier else self.looks[0]
        last = later[0] if later else self.looks[-1]
        between = self.looks[len(earlier) : len(self.looks) - len(later) + 1]
        own = max((look.late_ns for look in between), default=0)
        waited = 0
        if node in first.waited_ns and node in last.waited_ns:
            waited = last.waited_ns[node] - first.waited_ns[node]
        return max(own, waited) / 1e6


UNSEEN = Punctuality()  # nobody looked
