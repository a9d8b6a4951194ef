"""What both implementations of impaired links share: the handle and the bounds.

A frame meets, in this order, on its way through one direction of a link: loss, the bound
on its length, the queue of the line's rate, the serialisation at that rate, the delay with
its jitter.  Frames of one direction never overtake one another, but for those that the
impairment's ``reorder`` chooses: they are not delayed.
"""

import math
from typing import Protocol

from testbed.model.topology import Impairment

IN_FLIGHT = 20_000  # frames that one direction holds at most, waiting and travelling
FULL_FRAME = 1514  # bytes of an Ethernet frame with 1500 bytes of payload, as rates count it


class Links(Protocol):
    """Started links, by name; each call takes effect on the next frame.

    An unknown name raises BackendError.
    """

    def set(
        self, name: str, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None
    ) -> None:
        """Replace the impairment of one or both directions; None leaves one as it is."""

    def down(self, name: str) -> None:
        """Cut the wire: nothing that enters it arrives, what is on its way still does."""

    def up(self, name: str) -> None:
        """Mend the wire."""


def frames_held(impairment: Impairment) -> int:
    """How many full frames a direction must hold to keep the queue and the delay filled."""
    if impairment.rate_mbit is None:
        return IN_FLIGHT
    hold_ms = impairment.delay_ms + impairment.jitter_ms + impairment.queue_ms
    frames = math.ceil(impairment.rate_mbit * 1e3 / 8 / FULL_FRAME * hold_ms)
    return min(IN_FLIGHT, max(frames, 2))
