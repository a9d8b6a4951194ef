"""One NAT as a state machine for one transport protocol, with time passed in.

The model is Linux's: a *session* is a conntrack entry and owns its tuple; a
*mapping* (RFC 4787 section 4.1) is the external endpoint that sessions of one
internal endpoint share; a *pinhole* is what lets others than a session's own
remote in (section 5).  Times are seconds.  A port that nobody can foretell is
modelled as one that nobody was told.
"""

from collections.abc import Iterator, Sequence
from math import inf

from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Mapping,
    Pooling,
    Protocol,
    Refresh,
    Unsolicited,
    WanInput,
)
from testbed.model.trace import (
    AdmitsAll,
    AdmitsContacted,
    Answer,
    Answered,
    Blocked,
    Drawn,
    Exhausted,
    Exposes,
    Filtered,
    Forwards,
    Hairpins,
    InSession,
    MappedAnew,
    Note,
    OverQuota,
    Place,
    Remapped,
    Taken,
    Unfollowed,
    Unmapped,
    Unrelated,
)
from testbed.predict.conntrack import Binding, Conntrack, Session
from testbed.predict.packet import Packet
from testbed.predict.port_mapping import MappedPort
from testbed.predict.translation import Dropped, Enters, Leaves


class TransportNat:
    """The NAT called ``name`` for one protocol.

    ``addresses`` are its external ones, of which every mapping takes the first unless the
    behaviour pools them; ``lan`` lists what is attached to the LAN, in the lab's order: static
    forwards point there, and paired pooling goes by it.
    """

    def __init__(
        self,
        name: str,
        protocol: Protocol,
        behaviour: Behaviour,
        addresses: Sequence[str],
        lan: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.protocol = protocol
        self.behaviour = behaviour
        self.axes = behaviour.transport(protocol)
        self.addresses = tuple(addresses)
        self._forwards = {
            forward.external_port: Place(lan[forward.host], forward.internal_port)
            for forward in behaviour.forwards
            if forward.protocol is protocol and forward.host < len(lan)
        }
        self._outward = {
            self._forwards[forward.external_port]: forward.external_port
            for forward in behaviour.forwards
            if isinstance(forward, MappedPort)
            and forward.outward
            and forward.external_port in self._forwards
            and forward.protocol is protocol
        }
        self._track = Conntrack(protocol, behaviour)
        self._hashed: dict[tuple[Place, object], Place] = {}
        self._first: dict[Place, Place] = {}  # internal -> its first external
        self._lan = tuple(lan)
        self._turn = 0  # of arbitrary pooling
        ports = self.axes.ports
        sequential = self.axes.allocation is Allocation.SEQUENTIAL
        self._cursor = 0 if sequential else ports.size // 2

    def unmap(self) -> None:
        """A gateway's mappings are gone; sessions that go by them go on."""
        for internal, port in self._outward.items():
            if self._forwards.get(port) == internal:
                del self._forwards[port]
        self._outward.clear()

    # -- outgoing ---------------------------------------------------------

    def outgoing(
        self, now: float, internal: Place, remote: Place, segment: Packet | None = None
    ) -> Leaves | Dropped:
        """Choose the external endpoint of a packet from inside; ``segment``, if it is TCP's."""
        if self.axes.plain:
            refusal = self._refusal(remote)
            return Dropped(refusal) if refusal else Leaves(internal, remote, None)
        session = self._track.flow(now, internal, remote)
        if session is None:
            refusal = self._refusal(remote)
            opened = Dropped(refusal) if refusal else self._open(now, internal, remote)
            if isinstance(opened, Dropped):
                return opened
            session = opened
        if not session.follows(segment, out=True):
            return self._invalid()
        if session.binding is None:
            session.replied = True  # it was opened from outside
        self._track.touch(now, session)
        if session.binding is not None:
            self._track.learn(session)
        return Leaves(session.external, session.remote, session.note_out)

    def _invalid(self) -> Dropped:
        return Dropped(Unfollowed(self.name))

    def _refusal(self, remote: Place) -> Blocked | None:
        allowed = self.axes.allowed_ports
        protocol = self.protocol.value.upper()
        if self.axes.blocked:
            return Blocked(self.name, protocol)
        if allowed and remote.port not in allowed:
            return Blocked(self.name, protocol, tuple(allowed))
        return None

    def _open(self, now: float, internal: Place, remote: Place) -> Session | Dropped:
        binding = self._binding(now, internal, remote)
        if isinstance(binding, Dropped):
            return binding
        external = binding.external
        first = self._first.setdefault(internal, external)
        note: Note | None = None if external == first else MappedAnew(self.name)
        if (holder := self._track.tuple(now, external, remote)) is not None:
            fresh = self._fresh(now, external.address)
            if fresh is None:
                return self._exhausted()
            external = fresh
            note = Remapped(self.name, internal, holder.remote, holder.internal)
        session = Session(internal, external, remote, remote, now, binding, note)
        session.note_in = InSession(self.name, internal, remote)
        self._track.keep(now, session)
        return session

    def _binding(self, now: float, internal: Place, remote: Place) -> Binding | Dropped:
        if self.axes.mapping is Mapping.NONE:
            return Binding(internal, now)
        if internal in self._outward:  # RFC 6886 section 3.9: to everybody, and past any quota
            return Binding(Place(self.addresses[0], self._outward[internal]), inf)
        key = (internal, self._dependent_part(remote))
        binding = self._track.bindings.get(key)
        if binding is not None and binding.expires > now:
            return binding
        if self._over_quota(now, internal.address):
            protocol, quota = self.protocol.value.upper(), self.behaviour.quota or 0
            return Dropped(OverQuota(self.name, protocol, quota))
        external = self._allocate(now, key, remote)
        if external is None:
            return self._exhausted()
        self._track.bindings[key] = binding = Binding(external, now)
        return binding

    def _dependent_part(self, remote: Place) -> object:
        match self.axes.mapping:
            case Mapping.ADDRESS_DEPENDENT:
                return remote.address
            case Mapping.ADDRESS_AND_PORT_DEPENDENT:
                return remote
            case _:
                return None

    def _over_quota(self, now: float, subscriber: str) -> bool:
        if self.behaviour.quota is None:
            return False
        used = sum(
            1
            for (internal, _), binding in self._track.bindings.items()
            if internal.address == subscriber and binding.expires > now
        )
        return used >= self.behaviour.quota

    def subscribers(self) -> Iterator[str]:
        """The address inside of each mapping that was made."""
        return (internal.address for internal, _ in self._track.bindings)

    # -- ports ------------------------------------------------------------

    def _allocate(self, now: float, key: tuple[Place, object], remote: Place) -> Place | None:
        internal = key[0]
        address = self._address(internal)
        match self.axes.allocation:
            case Allocation.PRESERVING:
                same = Place(address, internal.port)
                free = self._preservable(now, internal, same, remote)
                return same if free else self._fresh(now, address)
            case Allocation.HASHED:
                known = self._hashed.get(key)
                hole = None if known is None else self._track.pinhole(now, known)
                if known is not None and (hole is None or hole.internal == internal):
                    return known
                if (fresh := self._fresh(now, address)) is not None:
                    self._hashed.setdefault(key, fresh)
                return fresh
            case _:
                return self._fresh(now, address)

    def _address(self, internal: Place) -> str:
        """The external address of a new mapping (RFC 4787 section 4.1)."""
        count = len(self.addresses)
        if self.behaviour.pooling is Pooling.ARBITRARY:
            self._turn += 1
            return self.addresses[(self._turn - 1) % count]
        if self.behaviour.pooling is Pooling.PAIRED and internal.address in self._lan:
            return self.addresses[self._lan.index(internal.address) % count]
        return self.addresses[0]

    def _preservable(self, now: float, internal: Place, wanted: Place, remote: Place) -> bool:
        forwarded = self._forwards.get(wanted.port) if self._first_address(wanted) else None
        if forwarded is not None and forwarded.address != internal.address:
            return False
        if self._track.tuple(now, wanted, remote) is not None:
            return False
        hole = self._track.pinhole(now, wanted)
        if hole is None:
            return True
        if hole.internal == internal:  # a second mapping of one endpoint: another port
            return self.axes.mapping is Mapping.ENDPOINT_INDEPENDENT
        return self.axes.overloading

    def _fresh(self, now: float, address: str) -> Place | None:
        """The next port that no live mapping uses; None: exhausted.

        One that a hash remembers for another mapping is given where there is no other.
        """
        ports = self.axes.ports
        kept: Place | None = None
        kind = Place if self.axes.allocation is Allocation.SEQUENTIAL else Drawn
        promised = set(self._hashed.values())
        for _ in range(ports.size):
            candidate = kind(address, ports.first + self._cursor % ports.size)
            self._cursor += 1
            hole = self._track.pinhole(now, candidate)
            if hole is not None or (
                candidate.port in self._forwards and self._first_address(candidate)
            ):
                continue
            if candidate not in promised:
                return candidate
            kept = kept or candidate
        return kept

    def _first_address(self, external: Place) -> bool:
        """Whether it is of the address whose ports are forwarded."""
        return external.address == self.addresses[0]

    def _exhausted(self) -> Dropped:
        ports = self.axes.ports
        return Dropped(Exhausted(self.name, ports.first, ports.last))

    # -- incoming ---------------------------------------------------------

    def incoming(
        self,
        now: float,
        remote: Place,
        external: Place,
        segment: Packet | None = None,
        *,
        filtered: bool = True,
    ) -> Enters | Dropped:
        """Choose the internal endpoint of a packet from outside; ``segment``, if it is TCP's.

        ``filtered=False`` is the way back of a hairpin: whoever is inside may use
        any mapping.
        """
        if self.axes.plain:
            return Enters(external, remote, None)
        session = self._track.tuple(now, external, remote)
        if session is None:
            admitted = self._admits(now, remote, external, filtered)
            if not isinstance(admitted, tuple):
                return self._refuse(now, remote, external, admitted)
            session = self._open_from_outside(now, remote, external, *admitted)
        if session.internal is None:
            return self._refuse(now, remote, external, Unmapped(self.name, external))
        if not session.follows(segment, out=False):
            return self._invalid()
        if session.binding is not None:
            session.replied = True
        if self.behaviour.refresh is Refresh.BOTH:
            self._track.touch(now, session)
        return Enters(session.internal, session.seen, session.note_in)

    def error(self, now: float, remote: Place, external: Place, *, reset: bool) -> Enters | Dropped:
        """An RST or ICMP error from outside: passes by a session only, never opens one.

        An RST as the only reply makes conntrack forget the session at once; an
        ICMP error leaves it (RFC 5382 REQ-10).
        """
        if self.axes.plain:
            return Enters(external, remote, None)
        session = self._track.tuple(now, external, remote)
        if session is None or session.internal is None:
            return Dropped(Unrelated(self.name))
        if reset and not session.replied:
            self._track.forget(session)
        elif reset:
            session.reset()
        return Enters(session.internal, session.seen, session.note_in)

    def _admits(
        self, now: float, remote: Place, external: Place, filtered: bool
    ) -> tuple[Place, Note] | Unmapped | Filtered:
        """Whom a packet without a session is for, and why; or why it is for nobody."""
        admitted = self._admits_mapped(now, remote, external, filtered)
        if isinstance(admitted, tuple):
            return admitted
        exposed = self._exposed(external)
        if exposed is None:
            return admitted
        return exposed, Exposes(self.name, external.port, exposed)

    def _exposed(self, external: Place) -> Place | None:
        """Whom everything goes to that nothing else takes at this external address."""
        if external.address not in self.addresses:
            return None
        host = self.behaviour.exposes(self.addresses.index(external.address))
        if host is None or host >= len(self._lan):
            return None
        return Place(self._lan[host], external.port)

    def _admits_mapped(
        self, now: float, remote: Place, external: Place, filtered: bool
    ) -> tuple[Place, Note] | Unmapped | Filtered:
        if external.address == self.addresses[0] and external.port in self._forwards:
            target = self._forwards[external.port]
            return target, Forwards(self.name, external.port, target)
        hole = self._track.pinhole(now, external)
        if hole is None:
            return Unmapped(self.name, external)
        if not filtered:
            return hole.internal, Hairpins(self.name, hole.internal)
        match self.axes.filtering:
            case Filtering.ENDPOINT_INDEPENDENT:
                return hole.internal, AdmitsAll(self.name, external)
            case Filtering.ADDRESS_DEPENDENT if hole.contacted.get(remote.address, 0) > now:
                return hole.internal, AdmitsContacted(self.name, external, remote.address)
            case axis:
                exact = axis is not Filtering.ADDRESS_DEPENDENT
                return Filtered(self.name, external, remote, exact)

    def _open_from_outside(
        self, now: float, remote: Place, external: Place, internal: Place, why: Note
    ) -> Session:
        seen = remote
        for _ in range(self.axes.ports.size):
            if self._track.flow(now, internal, seen) is None:
                break
            # The inside already has a session with this very remote on another
            # external port; Linux keeps the two apart by remapping the source.
            seen = self._fresh(now, remote.address) or remote
        session = Session(internal, external, remote, seen, now, None, note_in=why)
        self._track.keep(now, session)
        return session

    def _refuse(
        self, now: float, remote: Place, external: Place, why: Unmapped | Filtered
    ) -> Dropped:
        tcp = self.protocol is Protocol.TCP
        own = external.address in self.addresses and self.axes.mapping is not Mapping.NONE
        if own and self.behaviour.wan_input is WanInput.ACCEPT:
            if not tcp:  # for TCP, the kernel's RST takes the entry away again at once
                self._track.keep(now, Session(None, external, remote, remote, now, None))
            return Dropped(
                Taken(self.name),
                Answer.RESET if tcp else Answer.UNREACHABLE,
                taken=True,
            )
        match self.axes.unsolicited:
            case Unsolicited.RESET if tcp:
                return Dropped(Answered(why, Answer.RESET), Answer.RESET)
            case Unsolicited.ICMP:
                return Dropped(Answered(why, Answer.UNREACHABLE), Answer.UNREACHABLE)
            case _:
                return Dropped(why)
