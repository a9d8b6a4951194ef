"""Where impaired links run: netem on their ends, or a delay line between two pairs.

Without netem a link becomes node - wire bench - node: the bench is one more
namespace, no node of the lab, in which the delay line forwards frames.
"""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from testbed.lab.links.base import Links
from testbed.lab.links.delay_line import DelayLine, Wire, delay_line
from testbed.lab.links.interfaces import wire_socket
from testbed.lab.links.netem import Egress, NetemLinks, netem_available
from testbed.model.fault import FramesLost
from testbed.model.plan import AddLink, End, Plan


class WireBench:
    """The impaired links of one lab.

    ``links`` changes, cuts and mends them by name ("nat-a-core") while the lab runs.
    """

    NODE = "-wires"  # no host or router can be called so

    def __init__(self) -> None:
        self.links: Links | None = None
        self._placed: list[AddLink] = []  # on the delay line
        self._shaped: dict[str, tuple[AddLink, Egress, Egress]] = {}  # by netem
        self._line: DelayLine | None = None

    @staticmethod
    def needed(plan: Plan) -> bool:
        return any(not step.transparent for step in plan.of(AddLink))

    def shape(self, link: AddLink, a: Egress, b: Egress) -> None:
        """Leave ``link`` to netem, by the interfaces at its two ends."""
        self._shaped[_name(link)] = (link, a, b)

    def place(self, link: AddLink) -> tuple[End, End]:
        """The bench's two ends for ``link``: facing its a and its b."""
        number = len(self._placed)
        self._placed.append(link)
        return (
            End(self.NODE, f"a{number}", f"0a:00:00:00:{number >> 8:02x}:{number & 255:02x}"),
            End(self.NODE, f"b{number}", f"0e:00:00:00:{number >> 8:02x}:{number & 255:02x}"),
        )

    def lost_frames(self) -> list[FramesLost]:
        """Frames that the bench itself lost."""
        counters = self._line.counters() if self._line else ()
        return [
            FramesLost(c.wire, c.direction, c.missed + c.unfinished)
            for c in counters
            if not c.faithful
        ]

    def lateness_ms(self) -> float:
        """By how much the most delayed frame was late."""
        counters = self._line.counters() if self._line else ()
        return max((counter.latest_us / 1000 for counter in counters), default=0.0)

    @contextmanager
    def running(self, inside: AbstractContextManager[None], seed: int) -> Iterator[None]:
        """Frames are impaired within the context; ``inside`` enters the bench."""
        if self._shaped:
            self.links = NetemLinks({name: (a, b) for name, (_, a, b) in self._shaped.items()})
            for name, (link, _, _) in self._shaped.items():
                self.links.set(name, a_to_b=link.a_to_b, b_to_a=link.b_to_a)
        if not self._placed:
            yield
            return
        with inside:
            wires = [
                Wire(
                    wire_socket(f"a{number}"),
                    wire_socket(f"b{number}"),
                    link.a_to_b,
                    link.b_to_a,
                    _name(link),
                )
                for number, link in enumerate(self._placed)
            ]
        with delay_line(wires, seed=seed) as self._line:
            self.links = self._line
            yield


def _name(link: AddLink) -> str:
    return f"{link.a.node}-{link.b.node}"


_answers: list[bool] = []


def netem(netlink: socket.socket) -> bool:
    """Whether this kernel has netem; ``netlink``: a route socket of the bench.

    One kernel, one answer: only the first lab of a process asks.
    """
    if not _answers:
        _answers.append(netem_available(netlink))
    return _answers[0]
