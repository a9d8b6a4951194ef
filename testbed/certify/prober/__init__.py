"""Measures an unknown NAT from both sides, in a started lab of the preset ``probe_bench``.

The prober knows nothing of how rules are made: it sends from one side and looks
on the other.  It takes some seconds, most of them waiting for timers.
"""

from dataclasses import dataclass
from itertools import chain

from testbed.certify.measured import Finding, Measured, MeasuredTransport, unseen
from testbed.certify.prober import axes, more, outside, timers
from testbed.certify.prober.bench import REAL, ROUTER, SERVER, Bench
from testbed.certify.prober.collision import collision
from testbed.certify.prober.services import services
from testbed.certify.prober.sweep import lan_exposed, sweep
from testbed.certify.prober.waiting import lifetime
from testbed.model.behaviour import Forward, Protocol
from testbed.model.lab import Lab

_BY_CONTACT = (  # the axes that begin with a contact from inside
    "mapping",
    "pooling",
    "large",
    "filtering",
    "allocation",
    "ports",
    "overloading",
    "collision",
    "early_inbound",
    "persistence",
    "hairpin",
)

_QUOTA_TIME = 1.8  # seconds: the first mappings must still count when the last is refused


@dataclass(frozen=True)
class LookFor:
    """What cannot be found by trying everything; none of it says what to find there."""

    ports: tuple[int, ...] = ()  # further destination ports that might be let out
    forwards: tuple[Forward, ...] = ()  # external ports that might be forwarded, and whereto
    mappings: int = 600  # how many mappings of one host to try

    @property
    def known(self) -> set[int]:
        """The ports that are named."""
        ends = ((forward.external_port, forward.internal_port) for forward in self.forwards)
        return {*self.ports, *chain.from_iterable(ends)}


def probe(lab: Lab, look_for: LookFor | None = None) -> Measured:
    """Measure the NAT ``nat-a`` on every axis.

    ProbeError when a control exchange fails or the machine is too busy: then
    nothing is known about the NAT.
    """
    look_for = look_for or LookFor()
    with Bench(lab) as bench:
        bench.keep_free(look_for.known)
        bench.ready()
        offered = services(bench)
        subjects = [_subject(bench, protocol, look_for) for protocol in Protocol]
        external = next((s.external for s in subjects if s.ports), bench.address(ROUTER))
        quick, stray = {}, list[str]()
        for subject in subjects:
            subject.external = external
            quick[subject.protocol] = _quick(subject, stray)
        with bench.brisk("looking from outside"):
            exposed = lan_exposed(bench, subjects)
            forwards, reflected = outside.forwards(subjects, stray)
        clocks = timers.measure(subjects)
        bench.fence()
        for subject in subjects:
            _complete(quick[subject.protocol], subject, clocks)
            quick[subject.protocol]["quota"] = _quota(subject, look_for.mappings)
        further = more.measured(subjects)
    stream = lifetime(clocks.udp_stream)
    return Measured(
        udp=MeasuredTransport(**quick[Protocol.UDP]),
        tcp=MeasuredTransport(**quick[Protocol.TCP]),
        forwards=forwards,
        reflected=reflected,
        lan_exposed=exposed,
        services=offered.inside,
        services_outside=offered.outside,
        leases=offered.leases,
        secure_mode=offered.secure_mode,
        port_mapping=offered.granted,
        refresh=timers.refresh(clocks.inbound, stream),
        timeout_udp=lifetime(clocks.udp),
        timeout_udp_stream=stream,
        timeout_tcp_transitory=lifetime(clocks.tcp_transitory),
        timeout_tcp_established=lifetime(clocks.tcp_established),
        more=further,
    )


def _subject(bench: Bench, protocol: Protocol, look_for: LookFor) -> axes.Subject:
    """The protocol, with the ports and the external address that first contacts show."""
    tried = tuple(dict.fromkeys((*REAL, *look_for.ports)))
    forwarded = tuple(each for each in look_for.forwards if each.protocol is protocol)
    with bench.brisk(f"first contacts by {protocol}"):
        found = outside.let_out(bench, protocol, tried)
    subject = axes.Subject(bench, protocol, tuple(found), tried=tried, forwarded=forwarded)
    for contact in found.values():
        subject.external = contact.source[0]
        subject.saw(contact)
    return subject


def _quick(subject: axes.Subject, stray: list[str]) -> dict[str, Finding]:
    """All that needs no waiting; calls that came in unasked are added to ``stray``."""
    bench, protocol = subject.bench, subject.protocol
    found: dict[str, Finding] = {}
    passed = ", ".join(map(str, subject.ports)) or "none"
    shown = f"of ports {', '.join(map(str, subject.tried))} contact was made with: {passed}"
    found["blocked"] = Finding(not subject.ports, shown)
    everything = subject.ports == subject.tried
    found["allowed_ports"] = Finding("all" if everything else tuple(map(str, subject.ports)), shown)
    with bench.brisk(f"{protocol} calls from outside"):
        swept, found["wan_input"] = sweep(subject)
    found["unsolicited"] = swept.unsolicited()
    subject.open_host = swept.open_host(bench)
    found["exposed_host"] = swept.exposed(subject.open_host)
    if not subject.ports:
        stray += swept.stray(protocol)
        return found | {name: unseen(f"{protocol} is not let out") for name in _BY_CONTACT}
    with bench.brisk(f"{protocol} mapping and filtering"):
        found["mapping"] = subject.mapping = axes.mapping(subject)
        found["large"] = axes.large(subject)
        found["filtering"] = subject.filtering = axes.filtering(subject)
        found["pooling"] = axes.pooling(subject)
    if not subject.plain:
        stray += swept.stray(protocol)
    with bench.brisk(f"{protocol} allocation"):
        found["allocation"], found["ports"] = axes.allocation(subject)
        subject.allocation = found["allocation"]
    with bench.brisk(f"{protocol} collision"):
        found["overloading"], found["collision"] = collision(subject)
    with bench.brisk(f"{protocol} early packet"):
        found["early_inbound"] = axes.early_inbound(subject)
    with bench.brisk(f"{protocol} hairpin"):
        found["hairpin"] = axes.hairpin(subject)
    return found


def _quota(subject: axes.Subject, mappings: int) -> Finding:
    if not subject.ports:
        return unseen(f"{subject.protocol} is not let out")
    with subject.bench.brisk(f"{subject.protocol} quota", _QUOTA_TIME):
        return outside.quota(subject, subject.public(SERVER, index=1), mappings)


def _complete(found: dict[str, Finding], subject: axes.Subject, clocks: timers.Clocks) -> None:
    """What the quick experiments left open."""
    if not subject.ports:
        return
    udp = subject.protocol is Protocol.UDP
    first = lifetime(clocks.udp if udp else clocks.tcp_transitory)
    again = clocks.reuse[subject.protocol]
    found["allocation"] = timers.scattered(found["allocation"], again, first)
    found["persistence"] = timers.persistence(clocks.outbound[subject.protocol])
