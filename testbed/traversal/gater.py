"""Who may connect, and who may use our relay: the user's word, asked at each border.

Make a subclass whose methods say no where the user wants it; these say yes to everybody.  All
are called within the event loop, and are to answer at once.
"""

from .multiaddr import Multiaddr
from .peer_id import PeerId


class Gater:
    """Asked before anything is spent on a connection, and once its other end has proved its id."""

    def may_dial(self, address: Multiaddr, peer: PeerId | None) -> bool:
        """May something be sent to this address: a dial, or the packets of a punch?

        `peer` is who is expected there, if anybody is.
        """
        del address, peer
        return True

    def may_accept(self, remote: Multiaddr) -> bool:
        """May a handshake begin that somebody at this address asks for?  Of a circuit: the relay's
        address with the id that the relay claims.
        """
        del remote
        return True

    def may_connect(self, peer: PeerId, remote: Multiaddr) -> bool:
        """May this peer be connected?  Asked of inbound and outbound connections alike."""
        del peer, remote
        return True


class RelayAcl:
    """Asked by a relay; a no is PERMISSION_DENIED for who asks."""

    def may_reserve(self, peer: PeerId, remote: Multiaddr) -> bool:
        """May this peer be reached through us?"""
        del peer, remote
        return True

    def may_connect(self, source: PeerId, remote: Multiaddr, target: PeerId) -> bool:
        """May `source`, who is at `remote`, have a circuit to `target`?"""
        del source, remote, target
        return True
