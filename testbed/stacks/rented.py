"""The ladder as a peer that pays a relay for its last rung, or counts for who does.

Its last word is what was signed, and the keys by which a capture of it is opened.
"""

from dataclasses import replace

from testbed.model.contract import Accounted, Configure, Endpoint, Role, RungName, RungReached
from testbed.stacks.ladder import LadderPeer
from testbed.stacks.session import now, serve
from testbed.traversal import Node, NodeOptions, Rent, Rung
from testbed.traversal import events as said
from testbed.traversal.rent.dossier import KINDS, lines
from testbed.traversal.rent.sqlite import Book

BUDGET = 10_000  # units for a circuit
SETTLING = 4.0  # seconds in which the last words on a circuit are there also on a busy machine


class RentedPeer(LadderPeer):
    """One session; see `testbed.stacks.session.Stack`."""

    def __init__(self) -> None:
        super().__init__()
        self._book = Book(":memory:")
        self._keys: list[str] = []

    def _options(self, configure: Configure) -> NodeOptions:
        pays = configure.role is Role.DIALER
        rent = Rent(BUDGET if pays else 0, book=self._book)
        return replace(super()._options(configure), rent=rent, key_log=self._keys.append)

    def _tell(self, node: Node, event: said.Event) -> None:
        """A rung over a relay is told as paid where a contract is under way."""
        paid = node.renting is not None and bool(node.renting.meters)
        if isinstance(event, said.RungReached) and event.rung is Rung.RELAYED and paid:
            at, remote = self._monotonic(event), Endpoint.of(event.remote.socket_address)
            self._emit(RungReached(at=at, rung=RungName.RENTED, remote=remote))
            return
        super()._tell(node, event)

    async def close(self) -> None:
        """The circuit is settled first."""
        begun = self._node is not None
        await super().close()
        if begun:
            signed = (KINDS[kind].open(data) for kind, data in self._book.statements())
            told = tuple(lines(signed))
            self._emit(Accounted(at=now(), statements=told, keys=tuple(self._keys)))


def main() -> int:
    """The paying ladder as a peer process."""
    return serve(RentedPeer, SETTLING)
