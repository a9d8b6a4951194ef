"""Where impaired links run: netem on their ends, or a delay line between two pairs.

Without netem a link becomes node - wire bench - node: the bench is one more
namespace, no node of the lab, in which the delay line forwards frames.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from testbed.links.delay_line import DelayLine, Wire, delay_line
from testbed.links.interfaces import wire_socket
from testbed.plan.model import AddLink, End, Plan


class WireBench:
    """The impaired links of one lab, on a kernel without netem."""

    NODE = "-wires"  # no host or router can be called so

    def __init__(self) -> None:
        self._links: list[AddLink] = []
        self.line: DelayLine | None = None

    @staticmethod
    def needed(plan: Plan) -> bool:
        return any(not step.transparent for step in plan.of(AddLink))

    def place(self, link: AddLink) -> tuple[End, End]:
        """The bench's two ends for ``link``: facing its a and its b."""
        number = len(self._links)
        self._links.append(link)
        return (
            End(self.NODE, f"a{number}", f"0a:00:00:00:{number >> 8:02x}:{number & 255:02x}"),
            End(self.NODE, f"b{number}", f"0e:00:00:00:{number >> 8:02x}:{number & 255:02x}"),
        )

    def lost_frames(self) -> list[str]:
        """Frames that the bench itself lost."""
        counters = self.line.counters() if self.line else ()
        return [
            f"link {c.wire} ({c.direction}) lost {c.missed + c.unfinished} frames by itself"
            for c in counters
            if not c.faithful
        ]

    def lateness_ms(self) -> float:
        """By how much the most delayed frame was late."""
        counters = self.line.counters() if self.line else ()
        return max((counter.latest_us / 1000 for counter in counters), default=0.0)

    @contextmanager
    def running(self, inside: AbstractContextManager[None], seed: int) -> Iterator[None]:
        """The delay line forwards within the context; ``inside`` enters the bench."""
        if not self._links:
            yield
            return
        with inside:
            wires = [
                Wire(
                    wire_socket(f"a{number}"),
                    wire_socket(f"b{number}"),
                    link.a_to_b,
                    link.b_to_a,
                    f"{link.a.node}-{link.b.node}",
                )
                for number, link in enumerate(self._links)
            ]
        with delay_line(wires, seed=seed) as self.line:
            yield
