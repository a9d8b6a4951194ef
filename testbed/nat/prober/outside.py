"""The experiments that begin outside, and the count of what one host may have."""

import select
import socket
from collections.abc import Sequence

from testbed.nat.behaviour import Forward, Mapping, Protocol, Unsolicited, WanInput
from testbed.nat.measured import Finding, forward_name, unseen
from testbed.nat.prober.axes import A, B, Subject
from testbed.nat.prober.bench import LAN, ROUTER, SERVER, STRANGER, Bench, End, wait
from testbed.nat.prober.packets import (
    RST,
    SYN,
    Endpoint,
    segments,
    send_raw,
    swallow,
    tcp_packet,
    udp_packet,
    unreachables,
)

_QUOTA_BATCH = 50  # packets that a raw socket's buffer certainly holds


def let_out(bench: Bench, protocol: Protocol, ports: Sequence[int]) -> tuple[int, ...]:
    """Of the destination ports ``ports`` of the server, those that a LAN host reaches."""
    found = []
    for port in ports:
        called = bench.end(protocol, SERVER, port)
        if bench.contact(bench.end(protocol, A), called) is not None:
            found.append(port)
        called.socket.close()
    return tuple(found)


def unsolicited(subject: Subject) -> Finding:
    """What a stranger is told who calls an unmapped port, and a port mapped to somebody else.

    To be measured before other experiments: a router sends a caller few ICMP errors a second.
    """
    bench = subject.bench
    unmapped = (subject.external, bench.port())
    answers = {f"unmapped {unmapped[1]}": _answer(subject, unmapped)}
    if subject.ports:
        local = subject.local()
        mapped = subject.reach(local).source
        answer = _answer(subject, mapped)
        if not _reached(local):
            answers[f"mapped {mapped[1]}"] = answer
    shown = ", ".join(f"{port}: {answer}" for port, answer in answers.items())
    if len(set(answers.values())) > 1:
        return Finding("inconsistent", shown)
    return Finding(next(iter(answers.values())), shown)


def _reached(local: End) -> bool:
    """True when a caller was let in to ``local`` after its own contact."""
    return wait(local.socket, select.POLLIN, 0.0)


def _answer(subject: Subject, target: Endpoint) -> str:
    bench = subject.bench
    icmp = bench.raw(STRANGER, socket.IPPROTO_ICMP)
    tcp = bench.raw(STRANGER, socket.IPPROTO_TCP)
    caller = subject.somebody()
    if subject.protocol is Protocol.UDP:
        bench.send(caller, target)
    else:
        bench.contact(caller, caller, target)
    bench.settle()
    if any(segment.flags & RST and segment.source == target for segment in segments(tcp)):
        return Unsolicited.RESET
    refusals = [about for about in unreachables(icmp) if about.destination == target]
    if refusals:
        return Unsolicited.ICMP if refusals[0].code == 3 else f"icmp code {refusals[0].code}"
    return Unsolicited.DROP


def wan_input(subject: Subject) -> Finding:
    """Does a new packet from outside reach a socket of the router itself?"""
    router = subject.bench.end(subject.protocol, ROUTER)
    arrived = subject.bench.contact(subject.somebody(), router) is not None
    shown = f"a stranger's call to the router's own port {router.endpoint[1]} "
    if arrived:
        return Finding(WanInput.ACCEPT, shown + "was taken")
    return Finding(WanInput.DROP, shown + "was not taken")


def lan_exposed(subjects: Sequence[Subject]) -> Finding:
    """Can the internet call a LAN host by its own address?"""
    for subject in subjects:
        if subject.mapping.value == Mapping.NONE:
            return unseen("the LAN's addresses are public")
        inside = subject.local()
        if subject.bench.contact(subject.somebody(), inside) is not None:
            return Finding(True, f"{subject.protocol} from outside came to {inside.endpoint}")
    return Finding(False, "no call from outside to a LAN address arrived")


def forwards(bench: Bench, external: str, wanted: Sequence[Forward]) -> Finding:
    """Of the static forwards looked for, those that work in both directions."""
    if not wanted:
        return Finding((), "none was looked for")
    found: list[str] = []
    failed: list[str] = []
    for forward in wanted:
        name = forward_name(forward)
        inside = bench.end(forward.protocol, LAN[forward.host], forward.internal_port)
        caller = bench.end(forward.protocol, STRANGER)
        contact = bench.contact(caller, inside, (external, forward.external_port))
        works = contact is not None and contact.answered
        (found if works else failed).append(name)
    lost = f"; not: {', '.join(failed)}" if failed else ""
    return Finding(tuple(found), f"called by a stranger: {', '.join(found) or 'none'}{lost}")


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
    sent = set()
    for _ in range(size):
        source, token = (bench.address(node), bench.port()), bench.token()
        sent.add(token)
        if subject.protocol is Protocol.UDP:
            send_raw(sender, udp_packet(source, called.endpoint, token))
        else:
            sequence = int.from_bytes(token, "big")
            send_raw(sender, tcp_packet(source, called.endpoint, SYN, sequence))
    bench.settle()
    if subject.protocol is Protocol.UDP:
        return sum(bench.got(called, token, 0.0) is not None for token in sorted(sent))
    seen = {segment.sequence.to_bytes(8, "big") for segment in segments(sniffer)}
    return len(sent & seen)
