"""What a packet of a flow costs that crosses a NAT, beside plain masquerade with a firewall.

Each packet goes over three wires, from a host by its router and the core to the server, or the
other way; the flow has been there before.  Linux takes it all the way within the call that sends
it, so that the processor time of the sender is that of all three hops.  All labs are up at once
and take turns, so that all meet the same load; the least of the rounds tells most.
"""

import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from testbed.bench.table import Results, say
from testbed.certify.prober.packets import ACK, Endpoint, tcp_packet, udp_packet
from testbed.errors import TestbedError
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.plan import Engine, LoadRules, Plan, SetSysctls, Step
from testbed.model.presets import BARE
from testbed.model.topology import INTERNET, Host, Network, Router, Scope, Topology
from testbed.nat.load import named
from testbed.plan.planner import FORWARDING, plan

ROUNDS = 60
PACKETS = 1000  # a round, in some milliseconds: seldom interrupted
PROFILES = ("port-restricted", "full-cone", "restricted-cone", "symmetric", "carrier-grade")
_PORT, _SERVER_PORT = 4001, 9000
_PAYLOAD = bytes(100)
_FILLING = 16  # datagrams that fill the smallest buffer
_WAIT = 5.0  # seconds until a first packet is there
_TCP_INFO_SEGMENTS_IN = 140  # of struct tcp_info, linux/tcp.h
_MEMINFO, _MEMINFO_DROPS = 55, 8  # SO_MEMINFO, and the place of SK_MEMINFO_DROPS

ROUTING, TRACKING, PLAIN = "routing", "conntrack", "masquerade + firewall"
# A guide's rules: what a Linux router needs, and nothing else.
_RULES = {
    ROUTING: "",
    TRACKING: """
table ip plain {
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
    }
}
""",
    PLAIN: """
table ip plain {
    chain srcnat {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" masquerade
    }
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname "lan" accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iifname "lan" oifname "wan" accept
    }
}
""",
}


@dataclass(frozen=True)
class Flow:
    """One way of a flow: a call that sends one packet of it, and how many have arrived."""

    name: str
    send: Callable[[], object]
    arrived: Callable[[], int]


def measure(results: Results) -> None:
    """CPU nanoseconds a packet, least and median, and the ratios to masquerade and firewall."""
    with ExitStack() as stack:
        flows = {name: _flows(name, lab, stack) for name, lab in _labs(stack)}
        spent: dict[tuple[str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for name, some in flows.items():
                for flow in some:
                    spent.setdefault((name, flow.name), []).append(_round(flow))
    for (name, way), rounds in spent.items():
        note = f"median {statistics.median(rounds):.0f}"
        say(results, f"a packet over three hops, {way}, {name}", min(rounds), "ns", note)
        if name in PROFILES:
            plain = spent[PLAIN, way]
            ratio = statistics.median(one / two for one, two in zip(rounds, plain, strict=True))
            note = f"median of the rounds; of the least {min(rounds) / min(plain):.3f}"
            say(results, f"  {name} / {PLAIN}, {way}", ratio, "x", note)


def _labs(stack: ExitStack) -> Iterator[tuple[str, NamespaceLab]]:
    profiles = {one.name: one for one in named(PROFILES)}
    networks = (Network(INTERNET, Scope.PUBLIC), Network("lan", Scope.PRIVATE))
    hosts = (Host("a", "lan"), Host("server", INTERNET, link=BARE))

    def planned(profile: str) -> Plan:
        router = Router("nat", INTERNET, "lan", profile, link=BARE)
        return plan(Topology("one-nat", networks, (router,), hosts), profiles)

    for name, rules in _RULES.items():
        steps = _with_rules(planned(PROFILES[0]), rules)
        yield name, stack.enter_context(Namespaces().start(steps))
    for name in PROFILES:
        yield name, stack.enter_context(Namespaces().start(planned(name)))


def _with_rules(steps: Plan, text: str) -> Plan:
    """The lab with these rules in place of its NAT's."""
    changed: list[Step] = []
    for step in steps.steps:
        if isinstance(step, LoadRules):
            if text:
                changed.append(replace(step, engine=Engine.NFTABLES, text=text))
        elif isinstance(step, SetSysctls):
            changed.append(replace(step, sysctls=(FORWARDING,)))
        else:
            changed.append(step)
    return replace(steps, steps=tuple(changed))


def _flows(name: str, lab: NamespaceLab, stack: ExitStack) -> list[Flow]:
    """UDP and TCP, out and in, each with its first packets behind it."""
    host, server = (str(lab.plan.address(node)) for node in ("a", "server"))
    if name in (ROUTING, TRACKING):  # nothing translates: the internet has to know the LAN
        lab.run("core", ["ip", "route", "add", host, "via", str(lab.plan.address("nat"))])
    near, far = (host, _PORT), (server, _SERVER_PORT)
    senders = {
        node: stack.enter_context(lab.socket(node, socket.AF_INET, socket.SOCK_RAW, kind))
        for node, kind in (("a", socket.IPPROTO_RAW), ("server", socket.IPPROTO_RAW))
    }
    flows = [*_udp(lab, stack, senders, near, far), *_tcp(lab, stack, senders, near, far)]
    for flow in flows:
        for _ in range(_FILLING):
            flow.send()
    return flows


def _udp(
    lab: NamespaceLab,
    stack: ExitStack,
    senders: dict[str, socket.socket],
    near: Endpoint,
    far: Endpoint,
) -> list[Flow]:
    inner = stack.enter_context(lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM))
    outer = stack.enter_context(lab.socket("server", socket.AF_INET, socket.SOCK_DGRAM))
    for sock, address in ((inner, near), (outer, far)):
        sock.settimeout(_WAIT)
        sock.bind(address)
    inner.sendto(b"?", far)
    mapped: Endpoint = outer.recvfrom(1)[1]
    outer.sendto(b"!", mapped)
    inner.recv(1)
    for sock in (inner, outer):  # nobody reads: what does not fit is counted
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    out, back = udp_packet(near, far, _PAYLOAD), udp_packet(far, mapped, _PAYLOAD)
    return [
        _flow("UDP out", senders["a"], out, lambda: _dropped(outer)),
        _flow("UDP in", senders["server"], back, lambda: _dropped(inner)),
    ]


def _tcp(
    lab: NamespaceLab,
    stack: ExitStack,
    senders: dict[str, socket.socket],
    near: Endpoint,
    far: Endpoint,
) -> list[Flow]:
    """ACKs that say again what was said: conntrack finds them in order, and nobody answers."""
    inner = stack.enter_context(lab.socket("a", socket.AF_INET, socket.SOCK_STREAM))
    listener = stack.enter_context(lab.socket("server", socket.AF_INET, socket.SOCK_STREAM))
    watch = stack.enter_context(
        lab.socket("a", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    )
    for sock in (inner, listener, watch):
        sock.settimeout(_WAIT)
    inner.bind(near)
    listener.bind(far)
    listener.listen()
    inner.connect(far)
    outer, mapped = listener.accept()
    stack.enter_context(outer)
    theirs, ours = struct.unpack_from("!II", watch.recv(2048), 20 + 4)  # of the SYN with ACK
    out = tcp_packet(near, far, ACK, ours, theirs + 1)
    back = tcp_packet(far, mapped, ACK, theirs + 1, ours)
    watch.close()
    return [
        _flow("TCP out", senders["a"], out, lambda: _segments(outer)),
        _flow("TCP in", senders["server"], back, lambda: _segments(inner)),
    ]


def _flow(name: str, sender: socket.socket, packet: bytes, arrived: Callable[[], int]) -> Flow:
    target = (socket.inet_ntoa(packet[16:20]), 0)
    return Flow(name, lambda: sender.sendto(packet, target), arrived)


def _round(flow: Flow) -> float:
    """Nanoseconds of processor time a packet; TestbedError where one was lost."""
    send, before = flow.send, flow.arrived()
    start = time.thread_time_ns()
    for _ in range(PACKETS):
        send()
    spent = time.thread_time_ns() - start
    lost = before + PACKETS - flow.arrived()
    if lost:
        raise TestbedError(f"{flow.name}: {lost} of {PACKETS} packets did not arrive")
    return spent / PACKETS


def _dropped(sock: socket.socket) -> int:
    """Datagrams for which the socket had no room."""
    told = sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, 36)
    return int(struct.unpack("9I", told)[_MEMINFO_DROPS])


def _segments(sock: socket.socket) -> int:
    """That came to a connection."""
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    return int(struct.unpack_from("I", told, _TCP_INFO_SEGMENTS_IN)[0])
