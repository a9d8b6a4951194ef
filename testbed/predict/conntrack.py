"""What a NAT remembers: sessions, the mappings they share, pinholes; and for how long."""

from dataclasses import dataclass, field

from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.trace import Kind, Note, Place
from testbed.predict.packet import Packet

REPLIED_LONG_ENOUGH = 2.0  # seconds after which Linux believes in a UDP stream


@dataclass(slots=True)
class Binding:
    """RFC 4787's mapping: the external endpoint that an internal one was given."""

    external: Place
    expires: float


@dataclass(slots=True)
class Pinhole:
    """An external endpoint that its internal one has sent from, and to whom."""

    internal: Place
    expires: float
    contacted: dict[str, float] = field(default_factory=dict)  # remote address -> expiry


@dataclass(slots=True)
class Session:
    """One conntrack entry.  ``binding`` is None when it was opened from outside.

    ``isns``: the initial sequence numbers in the SYNs of the side that opened it, and of
    the other; ``answered``: a SYN-ACK has passed, too.
    """

    internal: Place | None  # None: the router's own
    external: Place
    remote: Place
    seen: Place  # the remote as the inside knows it
    created: float
    binding: Binding | None
    note_out: Note | None = None
    note_in: Note | None = None
    replied: bool = False
    expires: float = 0.0
    isns: dict[bool, str] = field(default_factory=dict)
    answered: bool = False

    def follows(self, segment: Packet | None, *, out: bool) -> bool:
        """Whether a TCP segment belongs to the connection that this entry is about.

        A SYN with another number is a new attempt and welcome, as long as no SYN has come
        from the other side.  After that Linux holds both sides to their numbers: to it a
        SYN-ACK with a number of its own, from a listener whose host has connected in vain
        before, is out of the window, and INVALID (``tcp_in_window`` in
        nf_conntrack_proto_tcp.c has no exception for SYN_SENT2).
        """
        if segment is None or segment.protocol is not Protocol.TCP or self.answered:
            return True
        first = out == (self.binding is not None)  # the side that opened it
        crossed = len(self.isns) > 1  # Linux's SYN_SENT2
        if crossed and segment.isn and segment.isn != self.isns[first]:
            return False
        if segment.kind is Kind.SYN:
            self.isns[first] = segment.isn
        self.answered = segment.kind is Kind.SYN_ACK
        return True

    def reset(self) -> None:
        """An RST has ended the connection; the next SYN begins another."""
        self.isns.clear()
        self.answered = False


class Conntrack:
    """The tables of one NAT and protocol; whatever has expired is not there."""

    def __init__(self, protocol: Protocol, behaviour: Behaviour) -> None:
        self._protocol = protocol
        self._behaviour = behaviour
        self._flows: dict[tuple[Place, Place], Session] = {}  # internal, seen
        self._tuples: dict[tuple[Place, Place], Session] = {}  # external, remote
        self._pinholes: dict[Place, Pinhole] = {}
        self.bindings: dict[tuple[Place, object], Binding] = {}

    def flow(self, now: float, internal: Place, seen: Place) -> Session | None:
        """The session of a packet from inside."""
        session = self._flows.get((internal, seen))
        return session if session is not None and session.expires > now else None

    def tuple(self, now: float, external: Place, remote: Place) -> Session | None:
        """The session of a packet from outside, whoever inside owns it."""
        session = self._tuples.get((external, remote))
        return session if session is not None and session.expires > now else None

    def pinhole(self, now: float, external: Place) -> Pinhole | None:
        hole = self._pinholes.get(external)
        return hole if hole is not None and hole.expires > now else None

    def keep(self, now: float, session: Session) -> None:
        """Enter a session, alive from now on."""
        if session.internal is not None:
            self._flows[session.internal, session.seen] = session
        self._tuples[session.external, session.remote] = session
        self.touch(now, session)

    def forget(self, session: Session) -> None:
        """Close a session; its mapping is held until it expires (RFC 7857 section 2.2)."""
        if session.internal is not None:
            self._flows.pop((session.internal, session.seen), None)
        self._tuples.pop((session.external, session.remote), None)

    def touch(self, now: float, session: Session) -> None:
        """Restart the idle timers of a session, its mapping and its pinhole."""
        timeouts = self._behaviour.timeouts
        if self._protocol is Protocol.TCP:
            life = timeouts.tcp_established if session.replied else timeouts.tcp_transitory
        else:
            stream = session.replied and now - session.created > REPLIED_LONG_ENOUGH
            life = timeouts.udp_stream if stream else timeouts.udp
        session.expires = now + life
        if session.binding is not None:
            session.binding.expires = max(session.binding.expires, session.expires)
        hole = self._pinholes.get(session.external)
        if hole is not None and hole.internal == session.internal:
            hole.expires = max(hole.expires, session.expires)

    def learn(self, session: Session) -> None:
        """Outbound traffic opens the pinhole at its external port (RFC 4787 section 5)."""
        if session.internal is None:
            return
        hole = self._pinholes.get(session.external)
        if hole is None or hole.internal != session.internal:
            hole = self._pinholes[session.external] = Pinhole(session.internal, session.expires)
        hole.expires = max(hole.expires, session.expires)
        hole.contacted[session.remote.address] = session.expires
