"""Where impaired links run: netem on their ends, or a delay line between two pairs.

Without netem a link becomes node - wire bench - node: the bench is one more
namespace, no node of the lab, in which the delay line forwards frames.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import IPv4Address

from testbed.lab.links.base import Links
from testbed.lab.links.delay_line import DelayLine, Wire, delay_line
from testbed.lab.links.interfaces import wire_socket
from testbed.lab.links.netem import Egress, NetemLinks, netem_available
from testbed.lab.links.tunnel import TunnelEnds, endpoint
from testbed.model.fault import FramesLost
from testbed.model.plan import AddLink, End, Plan, Tunnel
from testbed.model.topology import TUNNEL_PORT

Within = Callable[[str, int, int], socket.socket]


class WireBench:
    """The impaired links of one lab.

    ``links`` changes, cuts and mends them by name ("nat-a-core") while the lab runs.
    """

    NODE = "-wires"  # no host or router can be called so

    def __init__(self) -> None:
        self.links: Links | None = None
        self._placed: list[AddLink] = []  # on the delay line
        self._tunnels: list[tuple[AddLink, Tunnel]] = []
        self._shaped: dict[str, tuple[AddLink, Egress, Egress]] = {}  # by netem
        self._line: DelayLine | None = None

    @staticmethod
    def needed(plan: Plan) -> bool:
        links = plan.of(AddLink)
        return any(link.tunnel is not None or not link.transparent for link in links)

    def shape(self, link: AddLink, a: Egress, b: Egress) -> None:
        """Leave ``link`` to netem, by the interfaces at its two ends."""
        self._shaped[link.name] = (link, a, b)

    def place(self, link: AddLink) -> tuple[End, End]:
        """The bench's two ends for ``link``: facing its a and its b."""
        number = len(self._placed)
        self._placed.append(link)
        return self._ends("ab", number)

    def carry(self, link: AddLink, tunnel: Tunnel) -> tuple[End, End]:
        """As `place`, of a link that ``tunnel`` carries."""
        number = len(self._tunnels)
        self._tunnels.append((link, tunnel))
        return self._ends("cd", number)

    def _ends(self, letters: str, number: int) -> tuple[End, End]:
        near, far = (
            End(
                self.NODE,
                f"{letter}{number}",
                f"{int(letter, 16):x}2:00:00:00:{number >> 8:02x}:{number & 255:02x}",
            )
            for letter in letters
        )
        return near, far

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
    def running(
        self, inside: AbstractContextManager[None], seed: int, within: Within
    ) -> Iterator[None]:
        """Frames are impaired within the context.

        ``inside`` enters the bench, ``within`` makes a socket in a node.
        """
        if self._shaped:
            self.links = NetemLinks({name: (a, b) for name, (_, a, b) in self._shaped.items()})
            for name, (link, _, _) in self._shaped.items():
                self.links.set(name, a_to_b=link.a_to_b, b_to_a=link.b_to_a)
        if not self._placed and not self._tunnels:
            yield
            return
        sockets = dict(self._endpoints(within))
        with inside:
            tunnels = [
                TunnelEnds(
                    wire_socket(f"c{number}"),
                    wire_socket(f"d{number}"),
                    sockets[link.a.node, tunnel.near, TUNNEL_PORT],
                    sockets[link.b.node, tunnel.far, tunnel.port],
                    tunnel.number,
                )
                for number, (link, tunnel) in enumerate(self._tunnels)
            ]
            wires = [
                Wire(
                    wire_socket(f"a{number}"),
                    wire_socket(f"b{number}"),
                    link.a_to_b,
                    link.b_to_a,
                    link.name,
                )
                for number, link in enumerate(self._placed)
            ]
        with delay_line(wires, seed=seed, tunnels=tunnels) as self._line:
            if wires:
                self.links = self._line
            yield

    def _endpoints(
        self, within: Within
    ) -> Iterator[tuple[tuple[str, IPv4Address, int], socket.socket]]:
        """A socket for each node, address and port at which tunnels end."""
        ends = [(link.a.node, tunnel.near, TUNNEL_PORT) for link, tunnel in self._tunnels]
        ends += [(link.b.node, tunnel.far, tunnel.port) for link, tunnel in self._tunnels]
        for node, address, port in dict.fromkeys(ends):
            sock = within(node, socket.AF_INET, socket.SOCK_DGRAM)
            yield (node, address, port), endpoint(sock, str(address), port)


_answers: list[bool] = []


def netem(netlink: socket.socket) -> bool:
    """Whether this kernel has netem; ``netlink``: a route socket of the bench.

    One kernel, one answer: only the first lab of a process asks.
    """
    if not _answers:
        _answers.append(netem_available(netlink))
    return _answers[0]
