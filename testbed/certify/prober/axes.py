"""The experiments that RFC 4787 and RFC 5382 share: one script for UDP and for TCP.

A contact is a datagram or a connection; an end is a socket or a listener.  The
NAT's answer to a new contact is what every axis here is read from.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from testbed.certify.allowance import SAMPLES, needed
from testbed.certify.measured import (
    AT_LEAST_ADDRESS,
    PRESERVING_WITHIN,
    Finding,
    unseen,
)
from testbed.certify.prober.bench import LAN, PUNCH, REAL, SERVER, STRANGER, Bench, Contact, End
from testbed.certify.prober.packets import Endpoint, segments
from testbed.certify.prober.subject import A, B, Subject
from testbed.model.behaviour import Allocation, Filtering, Hairpin, Mapping, Pooling, Protocol

_Result = tuple[str, str, str]  # the LAN host, the value, the evidence
FEW = "the NAT allows fewer mappings than this takes"
_FEW = "few"
# Each answer must hold for all of these sockets: a rule may know a host or a port.
_SOCKETS: tuple[tuple[str, int | None], ...] = ((A, None), (A, PUNCH), (B, 443), (B, None))
_STRANGERS = (None, PUNCH, 443, None)  # from where those are called
_NEIGHBOURS = (None, (53, 1021), None, (1023, 54))  # the same on the contacted address
_SAMPLES = (*(None,) * 10, 3478, 1022, 1024, 65000)  # source ports whose mappings are compared
assert len(_SAMPLES) == SAMPLES
_LARGE = 1200  # bytes: RFC 9000 section 14.1 asks that much of a path


def of_sockets(subject: Subject) -> dict[str, Finding]:
    """Of several sockets: mapping, filtering, and whether large packets pass."""
    mapped, filtered, lost = list[_Result](), list[_Result](), list[str]()
    forwarded = {forward.external_port for forward in subject.forwarded}
    remotes = _remotes(subject)
    for (node, port), stranger, neighbour in zip(_SOCKETS, _STRANGERS, _NEIGHBOURS, strict=True):
        subject.afford(*[node] * subject.allowance.room(len(remotes)))
        local = subject.local(node, subject.free(node, port))
        value, shown, made = _mapping_of(subject, local, remotes)
        mapped.append((node, value, shown))
        if not lost and not subject.bench.echoes(made, _LARGE):
            lost.append(f"{_LARGE} bytes of {made.caller.endpoint} or back")
        if made.source[1] not in forwarded:
            filtered.append((node, *_filtering_of(subject, made, stranger, neighbour)))
    passed = f"{_LARGE} bytes in one packet, both ways"
    return {
        "mapping": _mapping(subject, mapped),
        "filtering": _unanimous(_decisive(subject, filtered), filtered),
        "large": Finding("lost", lost[0]) if lost else Finding("passed", passed),
    }


def _mapping(subject: Subject, measured: Sequence[_Result]) -> Finding:
    """RFC 5780 section 4.3: one local socket towards two addresses and all usable ports."""
    if few := next((shown for _, value, shown in measured if value == _FEW), None):
        return unseen(few)
    if len(subject.addresses) > 1:
        return _strongest([(value, shown) for _, value, shown in measured])
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


def _remotes(subject: Subject) -> list[tuple[int, int]]:
    """The public ends (address, port) that a socket contacts, the telling ones first.

    Towards more than two addresses, which are there where the NAT has several itself, one port
    is enough.  Where a mapping for each is more than the NAT allows, there are fewer.
    """
    ports = range(len(subject.ports[: len(REAL)]))
    remotes = [(index, port) for index in range(2) for port in ports]
    remotes += [(index, 0) for index in range(2, subject.bench.count(SERVER))]
    if subject.allowance.room(len(remotes)) == len(remotes):
        return remotes
    if not subject.allowance.tells_ports:
        return [remotes[0], remotes[-1]]
    return sorted(remotes, key=sum)[: subject.allowance.room(len(remotes))]


def _mapping_of(
    subject: Subject, local: End, remotes: Sequence[tuple[int, int]]
) -> tuple[str, str, Contact]:
    seen, mute, made = _everywhere(subject, local, remotes)
    shown = f"{local.endpoint[1]} seen as " + ", ".join(
        f"{ip}:{port}" for ip, port in seen.values()
    )
    return *_judged(subject, local, remotes, seen, shown, mute), made


def _judged(
    subject: Subject,
    local: End,
    remotes: Sequence[tuple[int, int]],
    seen: dict[tuple[int, int], Endpoint],
    shown: str,
    mute: Sequence[str],
) -> tuple[str, str]:
    groups: dict[int, set[Endpoint]] = {}
    for (index, _), endpoint in seen.items():
        groups.setdefault(index, set()).add(endpoint)
    everything = set(seen.values())
    if everything == {local.endpoint}:
        return Mapping.NONE, shown
    if mute:
        return "closed", f"{shown}; {mute[0]}"
    if len(seen) < len(remotes):
        return _FEW, f"{shown}; the NAT allows no other mapping to compare with"
    if len(everything) == 1:
        return Mapping.ENDPOINT_INDEPENDENT, shown
    if len(subject.ports) == 1:
        return AT_LEAST_ADDRESS, f"{shown}; one destination port is let out: none to compare with"
    if not subject.allowance.tells_ports:
        return AT_LEAST_ADDRESS, f"{shown}; the NAT allows no other mapping to compare with"
    if all(len(group) == 1 for group in groups.values()):
        return Mapping.ADDRESS_DEPENDENT, shown
    pooled = len({address for address, _ in everything}) > 1
    # Random ports towards different remotes may coincide, once.
    if pooled or len(everything) >= len(seen) - (len(seen) > 4):
        return Mapping.ADDRESS_AND_PORT_DEPENDENT, shown
    return "inconsistent", shown


def _everywhere(
    subject: Subject, local: End, remotes: Sequence[tuple[int, int]]
) -> tuple[dict[tuple[int, int], Endpoint], list[str], Contact]:
    """How each of ``remotes`` sees ``local``, the first answer missed, and the first contact.

    Where one mapping is all that there is, a remote that sees nothing is left out.
    """
    seen: dict[tuple[int, int], Endpoint] = {}
    mute: list[str] = []  # one is enough: each costs the time of a silence
    made = None
    for index, port in remotes:
        public = subject.public(index=index, port=port)
        if made is None or subject.allowance.tells_order:
            contact = subject.reach(local, public, answer=not mute)
        elif (maybe := subject.bench.contact(local, public)) is not None:
            contact = maybe
        else:
            continue
        if made is None:
            made = contact
            subject.mapped.append((local.endpoint[1], contact.source[1]))
        seen[index, port] = contact.source
        if not contact.answered and not mute:
            mute.append(f"the answer of {public.endpoint} does not come in")
    assert made is not None
    return seen, mute, made


def pooling(subject: Subject) -> Finding:
    """RFC 4787 REQ-2: has one LAN host one external address, whomever it speaks to?

    Asked with fresh sockets: Linux keeps a socket's address, and chooses it by the first remote.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation")
    for node in LAN:
        for index in range(subject.bench.count(SERVER)):
            subject.afford(node)
            subject.reach(subject.local(node), subject.public(index=index))
    if len(subject.addresses) < 2:
        return unseen(f"one external address was seen: {', '.join(subject.addresses)}")
    hosts = {node: sorted(seen) for node, seen in sorted(subject.pool.items())}
    shown = "; ".join(f"{node} seen as {', '.join(seen)}" for node, seen in hosts.items())
    paired = all(len(seen) == 1 for seen in hosts.values())
    return Finding(Pooling.PAIRED if paired else Pooling.ARBITRARY, shown)


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


SCATTERED = "scattered"  # hashed or random: only a second mapping after expiry tells


def allocation(subject: Subject) -> tuple[Finding, Finding]:
    """RFC 4787 section 4.2: how ports are chosen, and the lowest and highest seen."""
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation"), unseen("no translation")
    pairs, steps = list[tuple[int, int]](), list[int]()
    last: tuple[Bench, int] | None = None
    for port in _SAMPLES:
        subject.afford(A)
        local = subject.local(A, subject.free(A, port))
        pairs.append((local.endpoint[1], subject.reach(local).source[1]))
        if last and last[0] is subject.bench:
            steps.append(pairs[-1][1] - last[1])
        last = subject.bench, pairs[-1][1]
    pairs += subject.mapped
    if not any(inside == outside for inside, outside in pairs):
        pairs += _between(subject, [external for _, external in pairs])
    shown = "ports " + ", ".join(f"{inside}->{outside}" for inside, outside in pairs[:6])
    every = [external for _, external in pairs]
    seen = Finding((min(every), max(every)), f"{len(every)} mappings")
    if all(inside == outside for inside, outside in pairs):
        return Finding(Allocation.PRESERVING, shown), seen
    if any(inside == outside for inside, outside in pairs):
        return _partly_preserving(pairs), seen
    if not steps:
        return unseen(f"{shown}; the NAT allows no other mapping to compare with"), seen
    wraps = [step for step in steps if step != 1]  # at the end of the range, always the same
    once = len(wraps) <= 1 or (len(set(wraps)) == 1 and wraps[0] < 0)
    if once and len(wraps) < len(steps):
        return Finding(Allocation.SEQUENTIAL, shown), seen
    return Finding(SCATTERED, shown), seen


def _between(subject: Subject, seen: Sequence[int]) -> Iterator[tuple[int, int]]:
    """A mapping of an internal port that lies among ``seen`` external ones, farthest from any.

    A NAT may keep the ports of a range alone, of which no other sample need be one.
    """
    gaps = pairwise(sorted(seen))
    low, high = max(gaps, key=lambda two: two[1] - two[0], default=(0, 0))
    port = subject.free(A, (low + high) // 2)
    if port in (None, low) or not subject.afford(A):
        return
    local = subject.local(A, port)
    yield local.endpoint[1], subject.reach(local).source[1]


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
    subject.afford(A)
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
    subject.afford(A)
    remote, fresh = subject.public(STRANGER), subject.local()
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
    nodes = (A, B) if subject.quiet == A else (B, A)
    if not subject.afford(*(nodes[number] for number in needed("hairpin", subject.mapping.value))):
        return unseen(FEW)
    caller, called = map(subject.local, nodes)
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
