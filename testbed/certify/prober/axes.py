"""The experiments that RFC 4787 and RFC 5382 share: one script for UDP and for TCP.

A contact is a datagram or a connection; an end is a socket or a listener.  The
NAT's answer to a new contact is what every axis here is read from.
"""

from collections.abc import Sequence

from testbed.certify.allowance import needed
from testbed.certify.measured import (
    AT_LEAST_ADDRESS,
    Finding,
    endpoint,
    inconsistent,
    unseen,
)
from testbed.certify.prober.bench import LAN, PUNCH, REAL, SERVER, STRANGER, Contact, End
from testbed.certify.prober.packets import Endpoint, segments
from testbed.certify.prober.subject import A, B, Subject
from testbed.model.behaviour import Filtering, Hairpin, Mapping, Pooling, Protocol
from testbed.model.statement import Statement
from testbed.model.statement import probing as it
from testbed.model.statement.probing import Circumstance

_Result = tuple[str, str, Statement]  # the LAN host, the value, the evidence
_FEW = "few"
# Each answer must hold for all of these sockets: a rule may know a host or a port.
_PEER = -1  # a fresh port of those where peers listen
_SOCKETS: tuple[tuple[str, int | None], ...] = ((A, None), (A, _PEER), (B, 443), (B, None))
_STRANGERS = (None, PUNCH, 443, None)  # from where those are called
_NEIGHBOURS = (None, (53, 1021), None, (1023, 54))  # the same on the contacted address
_LARGE = 1200  # bytes: RFC 9000 section 14.1 asks that much of a path


def of_sockets(subject: Subject) -> dict[str, Finding]:
    """Of several sockets: mapping, filtering, and whether large packets pass."""
    mapped, filtered, lost = list[_Result](), list[_Result](), list[Statement]()
    forwarded = {forward.external_port for forward in subject.forwarded}
    remotes = _remotes(subject)
    for (node, port), stranger, neighbour in zip(_SOCKETS, _STRANGERS, _NEIGHBOURS, strict=True):
        subject.afford(*[node] * subject.allowance.room(len(remotes)))
        wanted = subject.bench.peer_port() if port == _PEER else port
        local = subject.local(node, subject.free(node, wanted))
        value, shown, made = _mapping_of(subject, local, remotes)
        mapped.append((node, value, shown))
        if not lost and not subject.bench.echoes(made, _LARGE):
            lost.append(it.SizeLost(_LARGE, endpoint(made.caller.endpoint)))
        if made.source[1] not in forwarded:
            filtered.append((node, *_filtering_of(subject, made, stranger, neighbour)))
    return {
        "mapping": _mapping(subject, mapped),
        "filtering": _unanimous(_decisive(subject, filtered), filtered),
        "unexposed_filtering": _unexposed(subject, filtered),
        "large": Finding("lost", lost[0]) if lost else Finding("passed", it.SizePassed(_LARGE)),
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


def _strongest(results: Sequence[tuple[str, Statement]]) -> Finding:
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
) -> tuple[str, Statement, Contact]:
    seen, mute, made = _everywhere(subject, local, remotes)
    value, besides = _judged(subject, local, remotes, seen, mute)
    shown: Statement = it.SeenAs(local.endpoint[1], tuple(map(endpoint, seen.values())))
    return value, shown if besides is None else it.Besides(shown, besides), made


def _judged(
    subject: Subject,
    local: End,
    remotes: Sequence[tuple[int, int]],
    seen: dict[tuple[int, int], Endpoint],
    mute: Sequence[Endpoint],
) -> tuple[str, Statement | None]:
    """The value, and what is to be told besides how the local endpoint was seen."""
    groups: dict[int, set[Endpoint]] = {}
    for (index, _), external in seen.items():
        groups.setdefault(index, set()).add(external)
    everything = set(seen.values())
    if everything == {local.endpoint}:
        return Mapping.NONE, None
    if mute:
        return "closed", it.Unreturned(endpoint(mute[0]))
    no_other = it.Met(Circumstance.NO_OTHER_MAPPING)
    if len(seen) < len(remotes):
        return _FEW, no_other
    if len(everything) == 1:
        return Mapping.ENDPOINT_INDEPENDENT, None
    if len(subject.ports) == 1:
        return AT_LEAST_ADDRESS, it.Met(Circumstance.ONE_PORT)
    if not subject.allowance.tells_ports:
        return AT_LEAST_ADDRESS, no_other
    if all(len(group) == 1 for group in groups.values()):
        return Mapping.ADDRESS_DEPENDENT, None
    pooled = len({address for address, _ in everything}) > 1
    # Random ports towards different remotes may coincide, once.
    if pooled or len(everything) >= len(seen) - (len(seen) > 4):
        return Mapping.ADDRESS_AND_PORT_DEPENDENT, None
    return "inconsistent", None


def _everywhere(
    subject: Subject, local: End, remotes: Sequence[tuple[int, int]]
) -> tuple[dict[tuple[int, int], Endpoint], list[Endpoint], Contact]:
    """How each of ``remotes`` sees ``local``, who first gave no answer, and the first contact.

    Where one mapping is all that there is, a remote that sees nothing is left out.
    """
    seen: dict[tuple[int, int], Endpoint] = {}
    mute: list[Endpoint] = []  # one is enough: each costs the time of a silence
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
            mute.append(public.endpoint)
    assert made is not None
    return seen, mute, made


def pooling(subject: Subject) -> Finding:
    """RFC 4787 REQ-2: has one LAN host one external address, whomever it speaks to?

    Asked with fresh sockets: Linux keeps a socket's address, and chooses it by the first remote.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen(Circumstance.NO_TRANSLATION)
    for node in LAN:
        for index in range(subject.bench.count(SERVER)):
            subject.afford(node)
            subject.reach(subject.local(node), subject.public(index=index))
    if len(subject.addresses) < 2:
        return unseen(it.OneAddress(tuple(subject.addresses)))
    hosts = {node: sorted(seen) for node, seen in sorted(subject.pool.items())}
    shown = it.Several(tuple(it.HostAs(node, tuple(seen)) for node, seen in hosts.items()))
    paired = all(len(seen) == 1 for seen in hosts.values())
    return Finding(Pooling.PAIRED if paired else Pooling.ARBITRARY, shown)


def _filtering_of(
    subject: Subject, made: Contact, stranger_port: int | None, neighbours: Sequence[int] | None
) -> tuple[str, Statement]:
    """``neighbours``: ports of which one was not contacted; None: a fresh one."""
    neighbour = next((port for port in neighbours or () if port not in subject.ports), None)
    if not made.answered:
        return "closed", it.Met(Circumstance.UNANSWERED)
    calls = [
        subject.bench.contact(
            subject.at(node, port) if port else subject.somebody(node), made.caller, made.source
        )
        for node, port in ((STRANGER, stranger_port), (SERVER, neighbour))
    ]
    stranger, same_address = (call is not None for call in calls)
    shown = it.LetIn(endpoint(made.source), stranger, same_address)
    if any(call is not None and not call.answered for call in calls):
        return "asymmetric", it.Besides(shown, it.Met(Circumstance.ANSWERED_ELSEWHERE))
    verdicts: dict[tuple[bool, bool], str] = {
        (True, True): Filtering.ENDPOINT_INDEPENDENT,
        (False, True): Filtering.ADDRESS_DEPENDENT,
        (False, False): Filtering.ADDRESS_AND_PORT_DEPENDENT,
    }
    return verdicts.get((stranger, same_address), "inconsistent"), shown


def hairpin(subject: Subject) -> Finding:
    """RFC 4787 section 6: one LAN host calls the other's external endpoint."""
    independent = subject.mapping.value == Mapping.ENDPOINT_INDEPENDENT
    is_open = subject.filtering.value == Filtering.ENDPOINT_INDEPENDENT
    if subject.mapping.value == Mapping.NONE:
        return unseen(Circumstance.NO_TRANSLATION)
    if not is_open and (subject.protocol is Protocol.TCP or not independent):
        return unseen(Circumstance.FILTERED)
    nodes = (A, B) if subject.quiet == A else (B, A)
    if not subject.afford(*(nodes[number] for number in needed("hairpin", subject.mapping.value))):
        return unseen(Circumstance.FEW_MAPPINGS)
    caller, called = map(subject.local, nodes)
    outside = [subject.reach(end).source for end in (caller, called)]
    if not is_open:
        subject.bench.contact(called, caller, outside[0])
    source, answered = _hairpinned(subject, caller, called, outside[1])
    if source is None:
        return Finding(Hairpin.NONE, it.CallLost(endpoint(outside[1]), called.node))
    shown = it.CallCame(endpoint(outside[1]), endpoint(source))
    if source == caller.endpoint:
        return Finding(Hairpin.INTERNAL_SOURCE, shown)
    if source == outside[0] or (not independent and source[0] == outside[0][0]):
        if answered:
            return Finding(Hairpin.EXTERNAL_SOURCE, shown)
        return Finding("asymmetric", it.Besides(shown, it.Met(Circumstance.ANSWER_LOST)))
    return Finding("inconsistent", it.Besides(shown, it.SourceStrange(endpoint(outside[0]))))


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


def _decisive(subject: Subject, measured: Sequence[_Result]) -> Sequence[_Result]:
    """Of (host, value, evidence): those of the host that everything goes to, if there is one."""
    if subject.open_host is None:
        return measured
    return [one for one in measured if one[0] == subject.open_host] or measured


def _unexposed(subject: Subject, filtered: Sequence[_Result]) -> Finding:
    """What the filter does for the other hosts, where everything goes to one of them."""
    if subject.open_host is None:
        return unseen(Circumstance.NO_OPEN_HOST)
    return _agreed([(value, seen) for node, value, seen in filtered if node != subject.open_host])


def _unanimous(decisive: Sequence[_Result], measured: Sequence[_Result]) -> Finding:
    """What ``decisive`` agree on; what is otherwise for another host stands in the evidence."""
    found = _agreed([(value, shown) for _, value, shown in decisive])
    others = {(n, value) for n, value, _ in measured if value != found.value}
    if found.value is None or found.value == "inconsistent" or not others:
        return found
    host = it.OfOpenHost(decisive[0][0], found.evidence)
    told = (it.OfHost(node, value) for node, value in sorted(others))
    return Finding(found.value, it.Several((host, *told)))


def _agreed(results: Sequence[tuple[str, Statement]]) -> Finding:
    values = {value for value, _ in results}
    if not values:
        return unseen(Circumstance.NO_SOCKET)
    if len(values) == 1:
        return Finding(*results[0])
    return inconsistent(results)
