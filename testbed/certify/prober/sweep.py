"""Calls that nobody asked for: to the router's ports, and past its translation.

Every call is one raw packet with a token of its own.  Raw sockets in all nodes
that it might come to show where it went, and what was answered: a raw socket of
the router shows what its INPUT has accepted.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from testbed.certify.measured import Finding, unseen
from testbed.certify.prober.bench import LAN, PUNCH, ROUTER, SERVER, STRANGER, Bench
from testbed.certify.prober.packets import (
    ACK,
    RST,
    SYN,
    Endpoint,
    drain,
    echo_request,
    marks,
    segment_of,
    send_raw,
    tcp_packet,
    udp_packet,
    unreachables,
)
from testbed.certify.prober.subject import A, Subject
from testbed.model.behaviour import Mapping, Protocol, Unsolicited, WanInput
from testbed.model.frozen import FrozenValue
from testbed.model.plan import AddLink
from testbed.model.plan import End as Plug
from testbed.model.statement import probing
from testbed.model.statement.probing import Circumstance

# Caller, its address, its port, the port called; None is a fresh one.  The ports are
# those of the labs and some below 1024, where routers keep services.  No caller makes
# more than three calls: a router may answer six a peer and then one a second.
_CALLS: tuple[tuple[str, int, int | None, int | None], ...] = (
    (STRANGER, 0, None, None),
    (STRANGER, 0, None, PUNCH),
    (SERVER, 0, 443, None),
    (SERVER, 0, PUNCH, None),
    (SERVER, 0, None, 3479),
    (SERVER, 1, 53, None),
    (SERVER, 1, None, 443),
    (SERVER, 1, None, 3478),
)
_KINDS = {Protocol.UDP: socket.IPPROTO_UDP, Protocol.TCP: socket.IPPROTO_TCP}
_PORT_UNREACHABLE = 3
_ETH_P_IP = 0x0800


class Call(FrozenValue):
    """One packet to a port of the router's (or a firewall's LAN host)."""

    node: str
    source: Endpoint
    target: Endpoint
    token: int


@dataclass
class Sweep:
    """What became of the calls."""

    answers: dict[Call, str] = field(default_factory=dict)  # of those not let in
    inside: dict[Call, Endpoint] = field(default_factory=dict)  # the LAN endpoint reached
    router: dict[Call, bool] = field(default_factory=dict)  # taken by the router itself?
    guest: Call | None = None  # the call to a mapping made towards somebody else

    def unsolicited(self) -> Finding:
        """What callers are told whom no mapping lets in."""
        if not self.answers:
            return unseen(Circumstance.NONE_KEPT_OUT)
        answers = set(self.answers.values())
        told = (
            probing.CallAnswered(call.target[1], call.node, call.source[1], answer)
            for call, answer in self.answers.items()
        )
        shown = probing.Several(tuple(told))
        return Finding(answers.pop() if len(answers) == 1 else "inconsistent", shown)

    def _kept_out(self) -> list[Call]:
        return [call for call in self.answers if call != self.guest]

    def _missed(self) -> list[int]:
        """The ports of calls that came to nobody in the LAN."""
        return sorted({call.target[1] for call in self._kept_out()})

    def _host(self) -> str | None:
        """The address in the LAN that every call came to, at the port that was called.

        A few ports may be left out: the router's own, or those below 1024.
        """
        calls = {call: end for call, end in self.inside.items() if call != self.guest}
        hosts = {ip for ip, _ in calls.values()}
        kept = all(call.target[1] == port for call, (_, port) in calls.items())
        most = len(calls) > 2 * len(self._kept_out())
        return hosts.pop() if len(hosts) == 1 and kept and most else None

    def open_host(self, bench: Bench) -> str | None:
        """The LAN host that everything from outside goes to: a DMZ, or 1:1 NAT."""
        address = self._host()
        mine = (node for node in LAN if bench.address(node) == address)
        return next(mine, None)

    def exposed(self, host: str | None) -> Finding:
        """The LAN host that everything from outside goes to, as a finding."""
        if host is None:
            return unseen(Circumstance.NO_OPEN_HOST)
        calls = [call for call in self.inside if call != self.guest]
        return Finding(host, probing.CallsCame(len(calls), host, tuple(self._missed())))

    def stray(self, protocol: Protocol) -> list[str]:
        """Calls that came to the LAN though nothing has let them in."""
        if (host := self._host()) is not None:
            missed = self._missed()
            told = f"all but {', '.join(map(str, missed))}" if missed else "all"
            return [f"{protocol} {told} -> {host}"]
        return [
            f"{protocol} {_say(call)} -> {ip} port {port}"
            for call, (ip, port) in self.inside.items()
            if call != self.guest
        ]


def _say(call: Call) -> str:
    return f"{call.target[1]} from {call.node}'s {call.source[1]}"


def sweep(subject: Subject) -> tuple[Sweep, Finding]:
    """Call the external address; the second finding is `wan_input`.

    Calls that a forward looked for would take, or a mapping in use, are left out.
    To be measured before the labs' ports have mappings.
    """
    bench = subject.bench
    found = _observed(subject, list(_calls(subject, subject.external)), guest=True)
    own = bench.address(ROUTER)
    taken = list(found.router.values())
    if subject.external != own:  # a firewall: its hosts were called
        taken = list(_observed(subject, list(_calls(subject, own)), guest=False).router.values())
    if not taken:
        return found, unseen(Circumstance.ROUTER_UNCALLED)
    accepted = probing.RouterTook(sum(taken), len(taken))
    if any(taken):
        return found, Finding(WanInput.ACCEPT if all(taken) else "inconsistent", accepted)
    return found, Finding(WanInput.DROP, accepted)


def _calls(subject: Subject, address: str) -> Iterator[Call]:
    bench = subject.bench
    closed = subject.used | {forward.external_port for forward in subject.forwarded}
    for node, index, source, called in _CALLS:
        port = called or bench.port()
        if port not in closed:
            yield _call(bench, node, (bench.address(node, index), source), (address, port))


def _call(bench: Bench, node: str, source: tuple[str, int | None], target: Endpoint) -> Call:
    token = int.from_bytes(bench.token(), "big")
    return Call(node, (source[0], source[1] or bench.port()), target, token)


def _observed(subject: Subject, calls: list[Call], *, guest: bool) -> Sweep:
    found = Sweep()
    if guest and subject.ports:
        subject.afford(A)
        mapped = subject.reach(subject.local()).source
        stranger = subject.bench.address(STRANGER)
        found.guest = _call(subject.bench, STRANGER, (stranger, None), mapped)
        calls.append(found.guest)
    bench = subject.bench
    with ExitStack() as stack:
        watched = {
            node: stack.enter_context(bench.raw(node, _KINDS[subject.protocol]))
            for node in (*LAN, ROUTER, STRANGER, SERVER)
        }
        errors = {
            node: stack.enter_context(bench.raw(node, socket.IPPROTO_ICMP))
            for node in (STRANGER, SERVER)
        }
        for call in calls:
            with bench.raw(call.node, socket.IPPROTO_RAW) as sender:
                send_raw(sender, _packet(subject.protocol, call))
        bench.settle()
        inside = {
            token: target
            for node in LAN
            for token, (_, target) in marks(drain(watched[node])).items()
        }
        router = marks(drain(watched[ROUTER]))
        answers = {node: _answers(subject.protocol, watched[node], errors[node]) for node in errors}
    for call in calls:
        if call.token in inside:
            found.inside[call] = inside[call.token]
        else:
            found.answers[call] = answers[call.node].get(call.target, Unsolicited.DROP)
            if call != found.guest:
                found.router[call] = call.token in router
    return found


def _answers(protocol: Protocol, raw: socket.socket, errors: socket.socket) -> dict[Endpoint, str]:
    """Refusals by the endpoint that was called."""
    found: dict[Endpoint, str] = {
        about.destination: Unsolicited.ICMP
        if about.code == _PORT_UNREACHABLE
        else f"icmp code {about.code}"
        for about in unreachables(errors)
    }
    if protocol is Protocol.TCP:
        replies = [segment_of(packet) for packet in drain(raw)]
        found |= {reply.source: Unsolicited.RESET for reply in replies if reply.flags & RST}
    return found


def _packet(protocol: Protocol, call: Call) -> bytes:
    if protocol is Protocol.UDP:
        return udp_packet(call.source, call.target, call.token.to_bytes(8, "big"))
    return tcp_packet(call.source, call.target, SYN, call.token)


def lan_exposed(bench: Bench, subjects: Sequence[Subject]) -> Finding:
    """Is a LAN host called past the translation, or do its packets leave untranslated?

    The calls are what a neighbour on the router's own WAN link could send: packets
    to LAN addresses, which no route outside leads to; and a ping of the router.
    From inside come segments of no connection, which a NAT must not let out as
    they are.
    """
    if any(subject.mapping.value == Mapping.NONE for subject in subjects):
        return unseen(Circumstance.LAN_IS_PUBLIC)
    called = _called_past(bench)
    if called:
        return Finding(True, probing.CameToLan(tuple(called)))
    seen = _seen_outside(bench)
    if seen:
        return Finding(True, probing.LeftLan(tuple(seen)))
    return Finding(False, probing.Met(Circumstance.LAN_UNEXPOSED))


def _called_past(bench: Bench) -> list[str]:
    calls: dict[int, tuple[str, bytes]] = {}
    source = (bench.address(STRANGER), bench.port())
    for host in LAN:
        address = bench.address(host)
        for protocol in Protocol:
            for port in (PUNCH, bench.port()):
                call = _call(bench, STRANGER, source, (address, port))
                calls[call.token] = f"{protocol} {host}:{port}", _packet(protocol, call)
        token = bench.token()
        packet = echo_request(source[0], address, token)
        calls[int.from_bytes(token, "big")] = f"icmp {host}", packet
    echo = bench.token()
    with ExitStack() as stack:
        kinds = (*_KINDS.values(), socket.IPPROTO_ICMP)
        watched = [stack.enter_context(bench.raw(node, kind)) for node in LAN for kind in kinds]
        router, neighbour = _wan_link(bench)
        wire = stack.enter_context(
            bench.lab.socket(neighbour.node, socket.AF_PACKET, socket.SOCK_DGRAM)
        )
        mac = bytes.fromhex(router.mac.replace(":", ""))
        for _, packet in calls.values():
            wire.sendto(packet, (neighbour.ifname, _ETH_P_IP, 0, 0, mac))
        sender = stack.enter_context(bench.raw(STRANGER, socket.IPPROTO_RAW))
        send_raw(sender, echo_request(source[0], bench.address(ROUTER), echo))
        bench.settle()
        came = {token for raw in watched for token in marks(drain(raw))}
    names = {token: name for token, (name, _) in calls.items()}
    names[int.from_bytes(echo, "big")] = "icmp to the router"
    return [name for token, name in names.items() if token in came]


def _wan_link(bench: Bench) -> tuple[Plug, Plug]:
    """The router's outer end, and the other end of that link."""
    for link in bench.lab.plan.of(AddLink):
        for end, other in ((link.a, link.b), (link.b, link.a)):
            if bench.address(ROUTER) in {str(each.ip) for each in end.addresses}:
                return end, other
    raise AssertionError("a planned router has a link outside")


def _seen_outside(bench: Bench) -> list[str]:
    """The LAN hosts whose own addresses segments of no connection carry outside."""
    target = (bench.address(SERVER), PUNCH)
    with bench.raw(SERVER, socket.IPPROTO_TCP) as raw, bench.raw(A, socket.IPPROTO_RAW) as sender:
        for flags in (RST, SYN | ACK):
            source = (bench.address(A), bench.port())
            send_raw(sender, tcp_packet(source, target, flags, 1, 1))
        bench.settle()
        sources = {segment_of(packet).source[0] for packet in drain(raw)}
    return [host for host in LAN if bench.address(host) in sources]
