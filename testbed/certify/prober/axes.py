"""The experiments that RFC 4787 and RFC 5382 share: one script for UDP and for TCP.

A contact is a datagram or a connection; an end is a socket or a listener.  The
NAT's answer to a new contact is what every axis here is read from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from testbed.certify.measured import (
    ARBITRARY,
    AT_LEAST_ADDRESS,
    PAIRED,
    PRESERVING_WITHIN,
    Finding,
    unseen,
)
from testbed.certify.prober.bench import LAN, PUNCH, REAL, SERVER, STRANGER, Bench, Contact, End
from testbed.certify.prober.packets import Endpoint, segments
from testbed.errors import ProbeError
from testbed.model.behaviour import Allocation, Filtering, Forward, Hairpin, Mapping, Protocol

A, B = LAN
# Each answer must hold for all of these sockets: a rule may know a host or a port.
_SOCKETS: tuple[tuple[str, int | None], ...] = ((A, None), (A, PUNCH), (B, 443), (B, None))
_STRANGERS = (None, PUNCH, 443, None)  # from where those are called
_NEIGHBOURS = (None, (53, 1021), None, (1023, 54))  # the same on the contacted address
_SAMPLES = (*(None,) * 10, 3478, 1022, 1024, 65000)  # source ports whose mappings are compared
_LARGE = 1200  # bytes: RFC 9000 section 14.1 asks that much of a path


@dataclass
class Subject:
    """One protocol through the NAT: the bench, the public ends, what is known so far."""

    bench: Bench
    protocol: Protocol
    ports: tuple[int, ...]  # destination ports that are let out; empty: blocked
    tried: tuple[int, ...] = ()  # destination ports of which those are
    forwarded: tuple[Forward, ...] = ()  # looked for: these ports answer to rules of their own
    used: set[int] = field(default_factory=set)  # external ports seen
    pool: dict[str, set[str]] = field(default_factory=dict)  # LAN host -> external addresses
    open_host: str | None = None  # the LAN host that everything from outside goes to
    external: str = ""
    mapping: Finding = field(default_factory=lambda: unseen("not measured"))
    filtering: Finding = field(default_factory=lambda: unseen("not measured"))
    allocation: Finding = field(default_factory=lambda: unseen("not measured"))
    living: list[Contact] = field(default_factory=list)  # one of each socket of `mapping`
    _public: dict[tuple[str, int, int], End] = field(default_factory=dict)
    _local: dict[tuple[str, int], End] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """A router that neither translates nor filters: everybody may call its hosts."""
        open_to_all = self.filtering.value == Filtering.ENDPOINT_INDEPENDENT
        return self.mapping.value == Mapping.NONE and open_to_all

    @property
    def addresses(self) -> set[str]:
        """Every external address seen."""
        return set().union(*self.pool.values())

    @property
    def quiet(self) -> str:
        """A LAN host that only mappings lead to, if there is one."""
        return B if self.open_host == A else A

    def saw(self, contact: Contact) -> None:
        """Remember how a contact from inside was seen."""
        address, port = contact.source
        self.used.add(port)
        self.pool.setdefault(contact.caller.node, set()).add(address)

    def public(self, node: str = SERVER, index: int = 0, port: int = 0) -> End:
        """The public end at the node's ``index``-th address and ``port``-th usable port."""
        return self.at(node, self.ports[port], index)

    def at(self, node: str, number: int, index: int = 0) -> End:
        """The public end at port ``number``."""
        key = (node, index, number)
        if key not in self._public:
            self._public[key] = self.bench.end(self.protocol, node, number, index)
        return self._public[key]

    def free(self, node: str, port: int | None) -> int | None:
        """``port``, or None where a forward that is not this host's own may hold it."""
        for forward in self.forwarded:
            here = (forward.external_port, forward.internal_port)
            if port in here and (*here, LAN[forward.host]) != (port, port, node):
                return None
        return port

    def local(self, node: str = A, port: int | None = None) -> End:
        """A LAN host's end: at ``port`` always the same one, else on a fresh port."""
        if port is None:
            return self.bench.end(self.protocol, node)
        key = (node, port)
        if key not in self._local:
            self._local[key] = self.bench.end(self.protocol, node, port)
        return self._local[key]

    def somebody(self, node: str = STRANGER) -> End:
        """A public end that nobody has ever contacted."""
        return self.bench.end(self.protocol, node)

    def reach(self, local: End, public: End | None = None, *, answer: bool = True) -> Contact:
        """A contact outwards that the control has shown to be possible."""
        contact = self.bench.contact(local, public or self.public(), answer=answer)
        if contact is None:
            raise ProbeError(
                f"{self.protocol} from {local.endpoint} to {(public or self.public()).endpoint} "
                "was lost, though others were let out: a limit of the router's, or packets that "
                "something else in it takes"
            )
        self.saw(contact)
        return contact

    def unused(self) -> int:
        """A fresh port that was seen on neither side of the NAT.

        Linux refuses to reuse an expired port towards the same remote until conntrack
        has collected the old entry, which may take a minute.
        """
        return next(port for port in iter(self.bench.port, None) if port not in self.used)

    def admitted(self, node: str = A) -> End | None:
        """A new public end that the filtering lets in to a mapping of ``node`` towards `public`."""
        if self.open_host not in (None, node):
            return None
        if self.filtering.value == Filtering.ENDPOINT_INDEPENDENT:
            return self.somebody()
        if self.filtering.value == Filtering.ADDRESS_DEPENDENT:
            return self.somebody(SERVER)
        return None


def mapping(subject: Subject) -> Finding:
    """RFC 5780 section 4.3: one local socket towards two addresses and all usable ports."""
    measured = [
        (n, *_mapping_of(subject, subject.local(n, subject.free(n, p)))) for n, p in _SOCKETS
    ]
    results = [(value, shown) for _, value, shown in measured]
    if len(subject.addresses) > 1:
        return _strongest(results)
    return _unanimous(_decisive(subject, measured), measured)


# From a pool a socket may by chance get one address for several remote ones.
_STRENGTH = (
    Mapping.ENDPOINT_INDEPENDENT,
    Mapping.ADDRESS_DEPENDENT,
    Mapping.ADDRESS_AND_PORT_DEPENDENT,
)


def _strongest(results: Sequence[tuple[str, str]]) -> Finding:
    """What depends on the remote for one socket does so for all; else all have to agree."""
    if any(value not in _STRENGTH for value, _ in results):
        return _agreed(results)
    order = [str(value) for value in _STRENGTH]
    return Finding(*max(results, key=lambda result: order.index(result[0])))


def _mapping_of(subject: Subject, local: End) -> tuple[str, str]:
    seen, mute = _everywhere(subject, local)
    shown = f"{local.endpoint[1]} seen as " + ", ".join(
        f"{ip}:{port}" for ip, port in seen.values()
    )
    groups: dict[int, set[Endpoint]] = {}
    for (index, _), endpoint in seen.items():
        groups.setdefault(index, set()).add(endpoint)
    everything = set(seen.values())
    if everything == {local.endpoint}:
        return Mapping.NONE, shown
    if mute:
        return "closed", f"{shown}; {mute[0]}"
    if len(everything) == 1:
        return Mapping.ENDPOINT_INDEPENDENT, shown
    if len(subject.ports) == 1:
        return AT_LEAST_ADDRESS, f"{shown}; one destination port is let out: none to compare with"
    if all(len(group) == 1 for group in groups.values()):
        return Mapping.ADDRESS_DEPENDENT, shown
    pooled = len({address for address, _ in everything}) > 1
    # Random ports towards different remotes may coincide, once.
    if pooled or len(everything) >= len(seen) - (len(seen) > 4):
        return Mapping.ADDRESS_AND_PORT_DEPENDENT, shown
    return "inconsistent", shown


def _everywhere(subject: Subject, local: End) -> tuple[dict[tuple[int, int], Endpoint], list[str]]:
    """How each public end (address, port) sees ``local``, and which answer was missed first.

    Towards more than two addresses, which are there where the NAT has several itself, one port
    is enough.
    """
    seen: dict[tuple[int, int], Endpoint] = {}
    mute: list[str] = []  # one is enough: each costs the time of a silence
    ports = range(len(subject.ports[: len(REAL)]))
    remotes = [(index, port) for index in range(2) for port in ports]
    remotes += [(index, 0) for index in range(2, subject.bench.count(SERVER))]
    for index, port in remotes:
        public = subject.public(index=index, port=port)
        contact = subject.reach(local, public, answer=not mute)
        if not seen:
            subject.living.append(contact)
        seen[index, port] = contact.source
        if not contact.answered and not mute:
            mute.append(f"the answer of {public.endpoint} does not come in")
    return seen, mute


def pooling(subject: Subject) -> Finding:
    """RFC 4787 REQ-2: has one LAN host one external address, whomever it speaks to?

    Asked with fresh sockets: Linux keeps a socket's address, and chooses it by the first remote.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation")
    for node in LAN:
        for index in range(subject.bench.count(SERVER)):
            subject.reach(subject.local(node), subject.public(index=index))
    if len(subject.addresses) < 2:
        return unseen(f"one external address was seen: {', '.join(subject.addresses)}")
    hosts = {node: sorted(seen) for node, seen in sorted(subject.pool.items())}
    shown = "; ".join(f"{node} seen as {', '.join(seen)}" for node, seen in hosts.items())
    paired = all(len(seen) == 1 for seen in hosts.values())
    return Finding(PAIRED if paired else ARBITRARY, shown)


def filtering(subject: Subject) -> Finding:
    """RFC 5780 section 4.4: who may answer to the living mappings.

    The stranger comes first, then another port of the contacted address.  Neither
    caller has had any contact before.
    """
    forwarded = {forward.external_port for forward in subject.forwarded}
    callers = zip(subject.living, _STRANGERS, _NEIGHBOURS, strict=True)
    measured = [
        (made.caller.node, *_filtering_of(subject, made, stranger, neighbour))
        for made, stranger, neighbour in callers
        if made.source[1] not in forwarded
    ]
    return _unanimous(_decisive(subject, measured), measured)


def _filtering_of(
    subject: Subject, made: Contact, stranger_port: int | None, neighbours: Sequence[int] | None
) -> tuple[str, str]:
    """``neighbours``: ports of which one was not contacted; None: a fresh one."""
    neighbour = next((port for port in neighbours or () if port not in subject.ports), None)
    if not made.answered:
        return "closed", "not even the contacted endpoint's answer came in"
    calls = [
        subject.bench.contact(
            subject.at(node, port) if port else subject.somebody(node), made.caller, made.source
        )
        for node, port in ((STRANGER, stranger_port), (SERVER, neighbour))
    ]
    stranger, same_address = (call is not None for call in calls)
    shown = (
        f"to {made.source[0]}:{made.source[1]}: stranger {_let_in(stranger)}, "
        f"contacted address from another port {_let_in(same_address)}"
    )
    if any(call is not None and not call.answered for call in calls):
        return "asymmetric", f"{shown}; the answer did not leave from there"
    verdicts: dict[tuple[bool, bool], str] = {
        (True, True): Filtering.ENDPOINT_INDEPENDENT,
        (False, True): Filtering.ADDRESS_DEPENDENT,
        (False, False): Filtering.ADDRESS_AND_PORT_DEPENDENT,
    }
    return verdicts.get((stranger, same_address), "inconsistent"), shown


def _let_in(arrived: bool) -> str:
    return "let in" if arrived else "not let in"


def large(subject: Subject) -> Finding:
    """Do packets of a useful size pass both ways through the living mappings?"""
    for contact in subject.living:
        if not subject.bench.echoes(contact, _LARGE):
            return Finding("lost", f"{_LARGE} bytes of {contact.caller.endpoint} or back")
    return Finding("passed", f"{_LARGE} bytes in one packet, both ways")


SCATTERED = "scattered"  # hashed or random: only a second mapping after expiry tells


def allocation(subject: Subject) -> tuple[Finding, Finding]:
    """RFC 4787 section 4.2: how ports are chosen, and the lowest and highest seen."""
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation"), unseen("no translation")
    pairs = []
    for port in _SAMPLES:
        local = subject.local(A, subject.free(A, port))
        pairs.append((local.endpoint[1], subject.reach(local).source[1]))
    chosen = [external for _, external in pairs]
    pairs += [(contact.caller.endpoint[1], contact.source[1]) for contact in subject.living]
    shown = "ports " + ", ".join(f"{inside}->{outside}" for inside, outside in pairs[:6])
    every = [external for _, external in pairs]
    seen = Finding((min(every), max(every)), f"{len(every)} mappings")
    steps = [after - before for before, after in pairwise(chosen)]
    if all(inside == outside for inside, outside in pairs):
        return Finding(Allocation.PRESERVING, shown), seen
    if any(inside == outside for inside, outside in pairs):
        return _partly_preserving(pairs), seen
    if sum(step == 1 for step in steps) >= len(steps) - 1:  # one wrap of the range
        return Finding(Allocation.SEQUENTIAL, shown), seen
    return Finding(SCATTERED, shown), seen


def _partly_preserving(pairs: Sequence[tuple[int, int]]) -> Finding:
    """Are the ports kept that lie in a range, and all others moved into it?"""
    kept = sorted({inside for inside, outside in pairs if inside == outside})
    moved = [pair for pair in pairs if pair[0] != pair[1]]
    exceptions = ", ".join(f"{inside}->{outside}" for inside, outside in moved)
    shown = f"kept: {kept[0]} to {kept[-1]}; not: {exceptions}"
    if all(not kept[0] <= inside <= kept[-1] for inside, _ in moved):
        return Finding(PRESERVING_WITHIN, shown)
    return Finding("inconsistent", f"{shown}: some are preserved")


def early_inbound(subject: Subject) -> Finding:
    """The remote's packet comes first: does the later contact keep its port?

    The port is known beforehand only where it does not depend on the remote; a
    port that has no mapping yet, only where ports are preserved.
    """
    if subject.mapping.value != Mapping.ENDPOINT_INDEPENDENT:
        return unseen(f"mapping is {subject.mapping.value}: the port is not known beforehand")
    remote = subject.public(STRANGER)
    local = subject.local()
    known = subject.reach(local).source
    before = subject.bench.contact(remote, local, known)
    seen = known if before else subject.reach(local, remote).source
    shown = f"mapped {known[1]}, seen as {seen[1]} by the early remote"
    if seen != known:
        return Finding("moved", shown)
    if known[1] != local.endpoint[1]:
        return Finding("kept", shown)
    fresh = subject.local()
    port = fresh.endpoint[1]
    if subject.bench.contact(remote, fresh, (known[0], port)):
        return Finding("kept", f"{shown}; unmapped {port} is called at once")
    seen = subject.reach(fresh, remote).source
    shown += f"; unmapped {port}, then seen as {seen[1]}"
    return Finding("kept" if seen[1] == port else "moved", shown)


def hairpin(subject: Subject) -> Finding:
    """RFC 4787 section 6: one LAN host calls the other's external endpoint."""
    independent = subject.mapping.value == Mapping.ENDPOINT_INDEPENDENT
    is_open = subject.filtering.value == Filtering.ENDPOINT_INDEPENDENT
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation")
    if not is_open and (subject.protocol is Protocol.TCP or not independent):
        return unseen("filtering keeps the call out, whether hairpinned or not")
    caller, called = subject.local(subject.quiet), subject.local(B if subject.quiet == A else A)
    outside = [subject.reach(end).source for end in (caller, called)]
    if not is_open:
        subject.bench.contact(called, caller, outside[0])
    source, answered = _hairpinned(subject, caller, called, outside[1])
    if source is None:
        return Finding(Hairpin.NONE, f"a call to {outside[1]} did not come to {called.node}")
    shown = f"a call to {outside[1]} came from {source}"
    if source == caller.endpoint:
        return Finding(Hairpin.INTERNAL_SOURCE, shown)
    if source == outside[0] or (not independent and source[0] == outside[0][0]):
        if answered:
            return Finding(Hairpin.EXTERNAL_SOURCE, shown)
        return Finding("asymmetric", f"{shown}, the answer did not come back")
    return Finding("inconsistent", f"{shown}, which is neither {outside[0]} nor the LAN endpoint")


def _hairpinned(
    subject: Subject, caller: End, called: End, target: Endpoint
) -> tuple[Endpoint | None, bool]:
    """The source that the called host saw, also of a SYN whose handshake failed."""
    if subject.protocol is Protocol.UDP:
        contact = subject.bench.contact(caller, called, target)
        return (contact.source, contact.answered) if contact else (None, False)
    sniffer = subject.bench.raw(called.node, 6)
    contact = subject.bench.contact(caller, called, target)
    if contact is not None:
        return contact.source, contact.answered
    for segment in segments(sniffer):
        if segment.destination == called.endpoint:
            return segment.source, False
    return None, False


def _decisive(
    subject: Subject, measured: Sequence[tuple[str, str, str]]
) -> Sequence[tuple[str, str, str]]:
    """Of (host, value, evidence): those of the host that everything goes to, if there is one."""
    if subject.open_host is None:
        return measured
    return [one for one in measured if one[0] == subject.open_host] or measured


def _unanimous(
    decisive: Sequence[tuple[str, str, str]], measured: Sequence[tuple[str, str, str]]
) -> Finding:
    """What ``decisive`` agree on; what is otherwise for another host stands in the evidence."""
    found = _agreed([(value, shown) for _, value, shown in decisive])
    others = {(n, value) for n, value, _ in measured if value != found.value}
    if found.value is None or found.value == "inconsistent" or not others:
        return found
    told = "; ".join(f"for host {node}: {value}" for node, value in sorted(others))
    host = f"host {decisive[0][0]}, which everything from outside goes to: "
    return Finding(found.value, f"{host}{found.evidence}; {told}")


def _agreed(results: Sequence[tuple[str, str]]) -> Finding:
    values = {value for value, _ in results}
    if not values:
        return unseen("no socket could be tried")
    if len(values) == 1:
        return Finding(*results[0])
    return Finding("inconsistent", "; ".join(f"{value}: {shown}" for value, shown in results))
