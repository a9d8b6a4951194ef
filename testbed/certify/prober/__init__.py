"""Measures an unknown NAT from both sides, in labs of the preset ``probe_bench``.

The prober knows nothing of how rules are made: it sends from one side and looks
on the other.  It takes some seconds, most of them waiting for timers.  How many mappings the NAT
allows is measured first.  If they are few, the experiments take turns on fresh benches, and what
would take more at once is not seen.
"""

from collections.abc import Sequence

from testbed.certify.allowance import ENOUGH
from testbed.certify.measured import Finding, Measured, MeasuredTransport, unseen
from testbed.certify.prober import axes, more, outside, ports, timers
from testbed.certify.prober.bench import ROUTER, Bench
from testbed.certify.prober.collision import collision
from testbed.certify.prober.limits import Limits, LookFor, limit
from testbed.certify.prober.rounds import Labs, Rounds
from testbed.certify.prober.services import services
from testbed.certify.prober.subject import A, Subject
from testbed.certify.prober.sweep import lan_exposed, sweep
from testbed.certify.prober.waiting import lifetime
from testbed.errors import ProbeError
from testbed.model.behaviour import Protocol
from testbed.model.statement import probing

_BY_CONTACT = (  # the axes that begin with a contact from inside
    "mapping",
    "pooling",
    "large",
    "filtering",
    "unexposed_filtering",
    "allocation",
    "ports",
    "overloading",
    "collision",
    "early_inbound",
    "persistence",
    "hairpin",
)


def probe(labs: Labs, look_for: LookFor | None = None, *, alone: bool = False) -> Measured:
    """Measure the NAT ``nat-a`` on every axis; ``labs`` starts its lab, again at each call.

    ``alone``: of its labs one can be up at a time.

    ProbeError when a control exchange fails or the machine is too busy: then
    nothing is known about the NAT.
    """
    look_for = look_for or LookFor()
    with Rounds(labs, look_for.known) as rounds:
        limits = [limit(rounds, protocol, look_for) for protocol in Protocol]
        if alone:
            _require_enough(limits)
        bench, _ = rounds.bench()
        offered = services(bench)
        subjects = [_subject(bench, rounds, found, look_for) for found in limits]
        external = next((s.external for s in subjects if s.ports), bench.address(ROUTER))
        quick, stray = {}, list[str]()
        for subject, found in zip(subjects, limits, strict=True):
            subject.external = external
            quick[subject.protocol] = _quick(subject, stray)
            quick[subject.protocol] |= {"quota": found.quota, "pool": found.pool}
        exposed = _exposed(subjects)
        if all(subject.open_host == A for subject in subjects):
            stray.clear()  # the axis `exposed` tells of it
        forwards, reflected = outside.forwards(subjects, stray)
        clocks = timers.measure(subjects)
        for subject in subjects:
            subject.bench.fence()
            _complete(quick[subject.protocol], subject, clocks)
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


def _require_enough(limits: Sequence[Limits]) -> None:
    for found in limits:
        if found.allowance != ENOUGH:
            raise ProbeError(
                f"the NAT allows few mappings by {found.protocol}, {found.allowance}: to measure "
                "the rest takes several labs at once, which there cannot be here"
            )


def _subject(bench: Bench, rounds: Rounds, limits: Limits, look_for: LookFor) -> Subject:
    """The protocol, with the ports and the external address that first contacts show."""
    protocol = limits.protocol
    forwarded = tuple(each for each in look_for.forwards if each.protocol is protocol)
    subject = Subject(
        bench, protocol, rounds, limits.allowance, tried=look_for.tried, forwarded=forwarded
    )
    with subject.brisk("first contacts"):
        subject.ports = tuple(outside.let_out(subject))
    return subject


def _exposed(subjects: Sequence[Subject]) -> Finding:
    first = subjects[0]
    with first.brisk("looking from outside"):
        return lan_exposed(first.bench, subjects)


def _quick(subject: Subject, stray: list[str]) -> dict[str, Finding]:
    """All that needs no waiting; calls that came in unasked are added to ``stray``."""
    protocol = subject.protocol
    found: dict[str, Finding] = {}
    shown = probing.PortsTried(tuple(subject.tried), tuple(subject.ports))
    found["blocked"] = Finding(not subject.ports, shown)
    everything = subject.ports == subject.tried
    found["allowed_ports"] = Finding("all" if everything else tuple(map(str, subject.ports)), shown)
    with subject.brisk("calls from outside"):
        swept, found["wan_input"] = sweep(subject)
    found["unsolicited"] = swept.unsolicited()
    subject.open_host = swept.open_host(subject.bench)
    found["exposed_host"] = swept.exposed(subject.open_host)
    if not subject.ports:
        stray += swept.stray(protocol)
        return found | {name: unseen(probing.NotLetOut(protocol)) for name in _BY_CONTACT}
    with subject.brisk("mapping and filtering"):
        found |= axes.of_sockets(subject)
        subject.mapping, subject.filtering = found["mapping"], found["filtering"]
        found["pooling"] = axes.pooling(subject)
    if not subject.plain:
        stray += swept.stray(protocol)
    with subject.brisk("allocation"):
        found["allocation"], found["ports"] = ports.allocation(subject)
        subject.allocation = found["allocation"]
    with subject.brisk("collision"):
        found["overloading"], found["collision"] = collision(subject)
    with subject.brisk("early packet"):
        found["early_inbound"] = ports.early_inbound(subject)
    with subject.brisk("hairpin"):
        found["hairpin"] = axes.hairpin(subject)
    return found


def _complete(found: dict[str, Finding], subject: Subject, clocks: timers.Clocks) -> None:
    """What the quick experiments left open."""
    if not subject.ports:
        return
    udp = subject.protocol is Protocol.UDP
    first = lifetime(clocks.udp if udp else clocks.tcp_transitory)
    again = clocks.reuse[subject.protocol]
    found["allocation"] = timers.scattered(
        found["allocation"], again, first, few=subject.allowance.whole is not None
    )
    found["persistence"] = timers.persistence(clocks.outbound[subject.protocol])
