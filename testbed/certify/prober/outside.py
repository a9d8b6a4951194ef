"""What is let out, what is forwarded in, and the count of what one host may have."""

import socket
from collections.abc import Sequence

from testbed.certify.measured import Finding, forward_name, unseen
from testbed.certify.prober.axes import A, B, Subject
from testbed.certify.prober.bench import LAN, SERVER, Bench, Contact, End
from testbed.certify.prober.packets import SYN, segments, send_raw, swallow, tcp_packet, udp_packet
from testbed.model.behaviour import Mapping, Protocol

_QUOTA_BATCH = 100  # packets that a raw socket's buffer certainly holds


def let_out(bench: Bench, protocol: Protocol, ports: Sequence[int]) -> dict[int, Contact]:
    """Of the destination ports ``ports`` of the server, those that a LAN host reaches."""
    found = {}
    for port in ports:
        called = bench.end(protocol, SERVER, port)
        contact = bench.contact(bench.end(protocol, A), called)
        if contact is not None:
            found[port] = contact
        called.socket.close()
    return found


def forwards(subjects: Sequence[Subject], stray: Sequence[str]) -> tuple[Finding, Finding]:
    """Of the static forwards looked for, those that work in both directions; and ``stray`` ones.

    A stray one is where a call from outside came to that nothing has let in.  The second
    finding has those that the other LAN host reaches, too: port reflection.
    """
    wanted = [(subject, forward) for subject in subjects for forward in subject.forwarded]
    if not wanted and not stray:
        return Finding((), "none was looked for, none showed itself"), unseen("no forward")
    reflected: list[str] = []
    found = list(stray)
    failed: list[str] = []
    for subject, forward in wanted:
        name = forward_name(forward)
        inside = subject.local(LAN[forward.host], forward.internal_port)
        target = (subject.external, forward.external_port)
        contact = subject.bench.contact(subject.somebody(), inside, target)
        works = contact is not None and contact.answered
        (found if works else failed).append(name)
        caller = subject.local(next(node for node in LAN if node != inside.node))
        call = subject.bench.contact(caller, inside, target)
        if call is not None and call.answered:
            reflected.append(name)
    lost = f"; not: {', '.join(failed)}" if failed else ""
    shown = f"called by a stranger: {', '.join(found) or 'none'}{lost}"
    inner = f"called by the other LAN host: {', '.join(reflected) or 'none'}"
    return Finding(tuple(found), shown), Finding(tuple(reflected), inner)


def quota(subject: Subject, called: End, bound: int) -> Finding:
    """How many mappings one LAN host gets; the other host's must not count.

    Up to ``bound`` first packets leave from as many ports, until some do not arrive.
    ``called`` is silenced for TCP: it answers no SYN any more.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation")
    opened = 0
    if subject.protocol is Protocol.TCP:
        swallow(called.socket)
    while opened < bound:
        size = min(_QUOTA_BATCH, bound - opened)
        arrived = _opened(subject, called, B, size)
        opened += arrived
        if arrived < size:
            break
    else:
        return Finding("none", f"{opened} mappings of one host, none refused")
    if _opened(subject, called, A, 1) == 0:
        return Finding("shared", f"after {opened} mappings of one host the other gets none")
    return Finding(opened, f"{opened} mappings of one host, the next refused")


def _opened(subject: Subject, called: End, node: str, size: int) -> int:
    """How many of ``size`` first packets from fresh ports of ``node`` reach ``called``."""
    bench = subject.bench
    sender = bench.raw(node, socket.IPPROTO_RAW)
    sniffer = bench.raw(SERVER, socket.IPPROTO_TCP)
    packets: dict[bytes, bytes] = {}
    for _ in range(size):
        source, token = (bench.address(node), subject.unused()), bench.token()
        if subject.protocol is Protocol.UDP:
            packets[token] = udp_packet(source, called.endpoint, token)
        else:
            sequence = int.from_bytes(token, "big")
            packets[token] = tcp_packet(source, called.endpoint, SYN, sequence)
    seen: set[bytes] = set()
    for _ in range(2):  # a kernel under load drops packets; what is refused is so again
        missing = [token for token in packets if token not in seen]
        for token in missing:
            send_raw(sender, packets[token])
        bench.settle()
        if subject.protocol is Protocol.UDP:
            seen |= {token for token in missing if bench.got(called, token, 0.0) is not None}
        else:
            seen |= {segment.sequence.to_bytes(8, "big") for segment in segments(sniffer)}
        if seen >= packets.keys():
            break
    return len(seen & packets.keys())
