"""The experiments that RFC 4787 and RFC 5382 share: one script for UDP and for TCP.

A contact is a datagram or a connection; an end is a socket or a listener.  The
NAT's answer to a new contact is what every axis here is read from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from testbed.errors import ProbeError
from testbed.nat.behaviour import Allocation, Filtering, Hairpin, Mapping, Protocol
from testbed.nat.measured import Finding, unseen
from testbed.nat.prober.bench import LAN, SERVER, STRANGER, Bench, Contact, End
from testbed.nat.prober.packets import Endpoint, segments

_SOCKETS = 3  # each answer must hold for all of them
_SAMPLES = 12  # mappings whose ports are compared
A, B = LAN


@dataclass
class Subject:
    """One protocol through the NAT: the bench, the public ends, what is known so far."""

    bench: Bench
    protocol: Protocol
    ports: tuple[int, ...]  # destination ports that are let out; empty: blocked
    tried: tuple[int, ...] = ()  # destination ports of which those are
    external: str = ""
    mapping: Finding = field(default_factory=lambda: unseen("not measured"))
    filtering: Finding = field(default_factory=lambda: unseen("not measured"))
    _public: dict[tuple[str, int, int], End] = field(default_factory=dict)

    def public(self, node: str = SERVER, index: int = 0, port: int = 0) -> End:
        """The public end at the node's ``index``-th address and ``port``-th usable port."""
        key = (node, index, port)
        if key not in self._public:
            self._public[key] = self.bench.end(self.protocol, node, self.ports[port], index)
        return self._public[key]

    def local(self, node: str = A, port: int | None = None) -> End:
        return self.bench.end(self.protocol, node, port)

    def somebody(self, node: str = STRANGER) -> End:
        """A public end that nobody has ever contacted."""
        return self.bench.end(self.protocol, node)

    def reach(self, local: End, public: End | None = None) -> Contact:
        """A contact outwards that the control has shown to be possible."""
        contact = self.bench.contact(local, public or self.public())
        if contact is None:
            raise ProbeError(
                f"{self.protocol} from {local.endpoint} to {(public or self.public()).endpoint} "
                "was lost, though others were let out (a quota of fewer than 60 mappings?)"
            )
        return contact

    def admitted(self) -> End | None:
        """A new public end that the filtering lets in to a mapping made towards `public`."""
        if self.filtering.value == Filtering.ENDPOINT_INDEPENDENT:
            return self.somebody()
        if self.filtering.value == Filtering.ADDRESS_DEPENDENT:
            return self.somebody(SERVER)
        return None


def mapping(subject: Subject) -> Finding:
    """RFC 5780 section 4.3: one local socket towards two addresses and two ports."""
    results = [_mapping_of(subject, subject.local()) for _ in range(_SOCKETS)]
    return _unanimous(results)


def _mapping_of(subject: Subject, local: End) -> tuple[str | None, str]:
    ports = range(min(2, len(subject.ports)))
    seen = {
        (index, port): subject.reach(local, subject.public(index=index, port=port)).source
        for index in range(2)
        for port in ports
    }
    shown = f"{local.endpoint[1]} seen as " + ", ".join(
        f"{ip}:{port}" for ip, port in seen.values()
    )
    by_address = [{seen[index, port] for port in ports} for index in range(2)]
    everything = set(seen.values())
    if everything == {local.endpoint}:
        return Mapping.NONE, shown
    if len(everything) == 1:
        return Mapping.ENDPOINT_INDEPENDENT, shown
    if len(ports) == 1:
        return None, f"{shown}; one destination port is let out, so ports cannot be compared"
    if all(len(group) == 1 for group in by_address):
        return Mapping.ADDRESS_DEPENDENT, shown
    if len(everything) == len(seen):
        return Mapping.ADDRESS_AND_PORT_DEPENDENT, shown
    return "inconsistent", shown


def filtering(subject: Subject) -> Finding:
    """RFC 5780 section 4.4: who may answer to a mapping made towards one endpoint.

    The stranger comes first, then another port of the contacted address.  Neither
    caller has had any contact before.
    """
    return _unanimous([_filtering_of(subject) for _ in range(_SOCKETS)])


def _filtering_of(subject: Subject) -> tuple[str, str]:
    local = subject.local()
    made = subject.reach(local)
    if not made.answered:
        return "closed", "not even the contacted endpoint's answer came in"
    calls = [
        subject.bench.contact(subject.somebody(node), local, made.source)
        for node in (STRANGER, SERVER)
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


SCATTERED = "scattered"  # hashed or random: only a second mapping after expiry tells


def allocation(subject: Subject) -> tuple[Finding, Finding]:
    """RFC 4787 section 4.2: how ports are chosen, and the lowest and highest seen."""
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation"), unseen("no translation")
    pairs = []
    for _ in range(_SAMPLES):
        local = subject.local()
        pairs.append((local.endpoint[1], subject.reach(local).source[1]))
    chosen = [external for _, external in pairs]
    shown = "ports " + ", ".join(f"{inside}->{outside}" for inside, outside in pairs[:6])
    seen = Finding((min(chosen), max(chosen)), f"{len(chosen)} mappings")
    steps = [after - before for before, after in pairwise(chosen)]
    if all(inside == outside for inside, outside in pairs):
        return Finding(Allocation.PRESERVING, shown), seen
    if any(inside == outside for inside, outside in pairs):
        return Finding("inconsistent", f"{shown}: some are preserved"), seen
    if sum(step == 1 for step in steps) >= len(steps) - 1:  # one wrap of the range
        return Finding(Allocation.SEQUENTIAL, shown), seen
    return Finding(SCATTERED, shown), seen


def collision(subject: Subject) -> tuple[Finding, Finding]:
    """Two LAN hosts on one source port (RFC 4787 REQ-3): overloading, and what becomes of both.

    The first pair of contacts goes to different destinations, the second to one.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation"), unseen("no translation")
    port = subject.bench.port()
    one, other = subject.local(A, port), subject.local(B, port)
    first = subject.reach(one, subject.public(index=0))
    second = subject.reach(other, subject.public(index=1))
    overloaded = first.source == second.source
    shown = f"{port} of both hosts seen as {first.source[1]} and {second.source[1]}"
    third = subject.reach(other, subject.public(index=0))
    return Finding(overloaded, shown), _aftermath(subject, (first, second, third), overloaded)


def _aftermath(subject: Subject, contacts: Sequence[Contact], overloaded: bool) -> Finding:
    first, second, third = contacts
    if first.source == third.source:
        return Finding("crossed", f"both are {first.source} towards one destination")
    for contact in contacts:
        host = contact.caller.node
        if not contact.answered or not subject.bench.replies(contact):
            return Finding("lost", f"answers to {contact.source} do not come to {host}")
    if subject.admitted() is not None:
        # An overloaded port is one host's as much as the other's.
        mine = [] if overloaded else [(first, second.caller)]
        for contact, wrong in (*mine, (third, first.caller)):
            call = subject.admitted()
            assert call is not None
            if subject.bench.contact(call, contact.caller, contact.source) is None:
                stray = subject.admitted()
                assert stray is not None
                crossed = subject.bench.contact(stray, wrong, contact.source) is not None
                return Finding(
                    "crossed" if crossed else "lost",
                    f"a caller let in to {contact.source} does not come to {contact.caller.node}"
                    + (f" but to {wrong.node}" if crossed else ""),
                )
    return Finding("separate", "both hosts got what was sent to their own mapping")


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
    subject.bench.contact(remote, fresh, (known[0], port))
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
    caller, called = subject.local(A), subject.local(B)
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


def _unanimous(results: Sequence[tuple[str | None, str]]) -> Finding:
    values = {value for value, _ in results}
    if len(values) == 1:
        return Finding(*results[0])
    return Finding("inconsistent", "; ".join(f"{value}: {shown}" for value, shown in results))
