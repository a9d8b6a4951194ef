"""Port mapping as profiles declare it: real miniupnpd, strangers, and what the wire says."""

import contextlib
import json
import os
import select
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pytest
from broken_nats import Sabotage, measured, wrong
from traversal.in_labs.portmap_lab import PORT, SILENCE, Mapper, require_short_leases

from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.certify.certificates import Certificate, Verdict, certify
from testbed.certify.measured import MeasuredPortMapping
from testbed.errors import BackendError, UnfitError
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.services import miniupnpd
from testbed.lab.services.own_gateway import OwnGateway
from testbed.model.behaviour import Gateway, PortMapping, Protocol
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint
from testbed.model.plan import Plan, ServePortMapping, Vantage
from testbed.model.presets import carrier, home_and_public
from testbed.model.profile import Profile
from testbed.model.topology import Scope, Topology
from testbed.nat import limits
from testbed.nat.load import find
from testbed.plan.planner import plan
from testbed.predict.port_mapping import Mapped, mapped_endpoint
from testbed.traversal.portmap.mapping import Service, Transport
from testbed.words import sentence

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        shutil.which(miniupnpd.PROGRAM) is None, reason=f"needs {miniupnpd.PACKAGE}"
    ),
]
UDP, TCP = Transport.UDP, Transport.TCP
PCP, PMP, V1, V2 = Service.PCP, Service.NAT_PMP, Service.UPNP_V1, Service.UPNP_V2
PAIRS = [
    ("upnp-home", V1),
    ("upnp2-home", V2),
    ("natpmp-home", PMP),
    ("pcp-home", PCP),
    ("all-services-home", PCP),
    ("all-services-home", PMP),
    ("all-services-home", V2),
]
EVERY = (PCP, PMP, V2)
MINI = Gateway.MINIUPNPD
REPEAT = 0.1  # seconds until a stranger repeats a datagram; an answer takes 0.04


@dataclass(frozen=True)
class Call:
    """A stranger's, from an endpoint of its own."""

    phase: str
    protocol: str
    source: Endpoint
    answered: bool


@dataclass
class Strangers:
    """`b` calls the mapped port; who called and what came of it is remembered."""

    lab: Lab
    calls: list[Call] = field(default_factory=list)

    def call(self, phase: str, *, expected: bool) -> None:
        """Once by UDP and once by TCP."""
        for transport in (UDP, TCP):
            assert self._one(phase, transport, 3.0 if expected else SILENCE) is expected, phase

    def _one(self, phase: str, transport: Transport, within: float) -> bool:
        """A datagram is repeated until it is answered, as TCP's SYN is by the kernel.

        miniupnpd renews by taking its rule away and adding it again, so that a single
        packet of a stranger's can come in between (see
        `test_miniupnpd_takes_a_rule_away_while_it_renews`).
        """
        kind = socket.SOCK_DGRAM if transport is UDP else socket.SOCK_STREAM
        word, answered = os.urandom(16), False
        with self.lab.socket("b", socket.AF_INET, kind) as sock:
            here = self.lab.plan.address("b")
            sock.bind((str(here), 0))
            source = Endpoint(here, sock.getsockname()[1])
            end = time.monotonic() + within
            try:
                sock.settimeout(within)
                sock.connect((str(self.lab.plan.address("nat-a")), PORT))
                while not answered and (left := end - time.monotonic()) > 0:
                    sock.sendall(word)
                    sock.settimeout(left if transport is TCP else min(left, REPEAT))
                    with contextlib.suppress(TimeoutError):
                        answered = sock.recv(100) == word
            except OSError:
                pass
        self.calls.append(Call(phase, transport.value, source, answered))
        return answered


def asked(lab: Lab, node: str, *requests: bytes) -> list[bytes]:
    """The answers of the router's port 5351 to ``node``, one after another."""
    answers = []
    with lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3.0)
        sock.connect((str(lab.plan.internal["nat-a"]), 5351))
        for request in requests:
            sock.send(request)
            answers.append(sock.recv(1100))
    return answers


def natpmp_request(transport: Transport, internal: int, external: int, seconds: int) -> bytes:
    opcode = 1 if transport is UDP else 2
    return struct.pack("!BBHHHI", 0, opcode, 0, internal, external, seconds)


@pytest.mark.parametrize(
    ("gateway", "takes_away"), [(Gateway.MINIUPNPD, True), (Gateway.TESTBED, False)]
)
def test_miniupnpd_takes_a_rule_away_while_it_renews(gateway: Gateway, takes_away: bool) -> None:
    """A stranger's packet in between is dropped: one is not enough to prove that it is closed."""
    request = natpmp_request(UDP, PORT, PORT, 600)
    with home(offering("port-restricted", gateway=gateway, nat_pmp=True)) as lab:
        watch = lab.spawn("nat-a", ["nft", "monitor", "destroy", "rules"])
        end = time.monotonic() + 10
        while time.monotonic() < end:  # the monitor does not say when it listens
            asked(lab, "a", request, request)
            if select.select([watch.stdout], [], [], 0.2)[0]:
                break
            if not takes_away and time.monotonic() > end - 9:
                break
        watch.kill()
        assert (b"delete rule inet portmap mapped" in watch.stdout.read()) is takes_away


def planned(topology: Topology, *profiles: Profile) -> Plan:
    return plan(topology, {profile.name: profile for profile in profiles})


def raw(lab: Lab, vantage: Vantage) -> socket.socket:
    return lab.socket(vantage.node, socket.AF_PACKET, socket.SOCK_RAW)


@contextmanager
def home(profile: Profile) -> Iterator[NamespaceLab]:
    with Namespaces().start(planned(home_and_public(profile.name), profile)) as lab:
        yield lab


def short_leases(profile: Profile) -> Profile:
    """The same NAT, whose leases of PCP can end while a test waits."""
    services = replace(profile.behaviour.port_mapping, min_lease=1)
    return replace(profile, behaviour=replace(profile.behaviour, port_mapping=services))


def await_no_rule(lab: NamespaceLab) -> None:
    end = time.monotonic() + 15
    while "dnat" in lab.services["nat-a"].mappings():
        assert time.monotonic() < end, "waited for the leases to end"
        time.sleep(0.1)


def lead(lab: NamespaceLab, strangers: Strangers, service: Service) -> None:
    """A mapping's life, told to the strangers."""
    router, host = lab.services["nat-a"], lab.plan.address("a")
    rule = f"dport {PORT} dnat ip to {host}:{PORT}"
    strangers.call("before", expected=False)

    mapper = Mapper(lab, "a", service, lifetime=4)
    for transport in (UDP, TCP):
        assert mapper.map(transport)["external"] == f"{lab.plan.address('nat-a')}:{PORT}"
    assert router.mappings().count(rule) == 2
    strangers.call("mapped", expected=True)

    for _ in range(2):
        mapper.wait(6, "PortMapped", renewed=True)
    end = time.monotonic() + 5  # by now the first lease would have ended
    while time.monotonic() < end:
        mapper.wait(6, "PortMapped", renewed=True)
    strangers.call("renewed", expected=True)

    router.stop()
    router.forget()  # looked at before the daemon announces itself, and is asked again
    assert "dnat" not in router.mappings()
    router.start()
    mapper.wait(8, "PortMapLost")
    for _ in (UDP, TCP):
        mapper.wait(8, "PortMapped", renewed=False)
    strangers.call("mapped anew", expected=True)

    for transport in (UDP, TCP):
        assert mapper.ask("unmap", transport=transport, port=PORT) == "done"
    assert "dnat" not in router.mappings()
    strangers.call("removed", expected=False)

    for transport in (UDP, TCP):
        mapper.map(transport)
    strangers.call("mapped again", expected=True)
    mapper.kill()  # without a word: nobody renews
    await_no_rule(lab)
    strangers.call("expired", expected=False)


@pytest.mark.parametrize(("profile", "service"), PAIRS)
def test_strangers_get_in_while_a_port_is_mapped_and_the_wire_shows_it(
    profile: str, service: Service, tmp_path: Path
) -> None:
    if find(profile).behaviour.port_mapping.gateway is Gateway.MINIUPNPD:
        require_short_leases(service)
    with home(short_leases(find(profile))) as lab:
        strangers = Strangers(lab)
        path, vantages = tmp_path / "capture.pcapng", lab.plan.vantages
        with record(lambda v: raw(lab, v), vantages, path) as recorder:
            lead(lab, strangers, service)
        assert recorder.recording.dropped == 0
        outside = Endpoint(lab.plan.address("nat-a"), PORT)
        inside = Endpoint(lab.plan.address("a"), PORT)
    packets = read(path)
    assert len(strangers.calls) == 14
    for call in strangers.calls:
        came = {
            (p.vantage, p.destination)
            for p in packets
            if (p.protocol, p.source, p.outgoing) == (call.protocol, call.source, False)
        }
        assert ("nat-a:wan", outside) in came, call
        assert (("a:eth0", inside) in came) is call.answered, call


# -- what a mapping is worth --------------------------------------------------


def offering(name: str, **fields: object) -> Profile:
    """A profile of the catalogue, with services that it does not declare."""
    found = find(name)
    services = PortMapping(**fields)  # type: ignore[arg-type]
    if services.gateway is Gateway.MINIUPNPD:
        has = limits.applicable(services)
        errors = {name: value for name, value in limits.MINIUPNPD.items() if has[name]}
        services = replace(services, **errors)  # type: ignore[arg-type]
    return replace(
        found, name="offering", behaviour=replace(found.behaviour, port_mapping=services)
    )


@pytest.mark.parametrize(
    "profile",
    [
        *(find(name) for name in dict(PAIRS)),
        find("linux-home"),
        offering("corporate", upnp_igd=2),
        offering("udp-blocked", pcp=True),
        offering("apdm-eif", nat_pmp=True),
        offering("adm-adf", upnp_igd=1, nat_pmp=True),
        offering("corporate", upnp_igd=2, gateway=MINI),
        offering("udp-blocked", pcp=True, gateway=MINI),
        offering("apdm-eif", nat_pmp=True, gateway=MINI),
        offering("adm-adf", upnp_igd=1, nat_pmp=True, gateway=MINI),
        offering("linux-home", upnp_igd=1, permanent_only=True),
        offering("port-restricted", upnp_igd=2, forwards=False),
        offering("port-restricted", pcp=True, forwards=False),
        offering("port-restricted", nat_pmp=True, address_known=False),
        offering("symmetric", pcp=True, epoch_counts=False),
    ],
    ids=lambda profile: f"{profile.title}",
)
def test_a_mapping_is_worth_what_the_oracle_says(profile: Profile) -> None:
    expected = {
        protocol: mapped_endpoint(profile.behaviour, wan_is_public=True, protocol=protocol)
        for protocol in Protocol
    }
    with home(profile) as lab:
        found = {}
        mapper = Mapper(lab, "a", *EVERY, V1)
        for transport in (UDP, TCP):
            made = mapper.map(transport)
            if isinstance(made, str):
                assert made.startswith("NoServiceError"), made
                found[Protocol(transport.value)] = Mapped.NOT_OFFERED
                continue
            if made["useless"] is not None:
                found[Protocol(transport.value)] = Mapped.USELESS
                continue
            within = 2.0 if expected[Protocol(transport.value)] is Mapped.REACHABLE else SILENCE
            reached = Strangers(lab)._one("mapped", transport, within)
            silent = Mapped.CLOSED if profile.behaviour.port_mapping.forwards else Mapped.IDLE
            found[Protocol(transport.value)] = Mapped.REACHABLE if reached else silent
        mapper.kill()
    assert found == expected


@pytest.mark.parametrize("gateway", Gateway)
@pytest.mark.parametrize("service", [PCP, PMP, V2])
def test_under_carrier_nat_a_service_maps_nothing(service: Service, gateway: Gateway) -> None:
    profile = offering("full-cone", upnp_igd=2, nat_pmp=True, pcp=True, gateway=gateway)
    cgn = find("carrier-grade")
    behaviour = profile.behaviour
    for protocol in Protocol:
        worth = mapped_endpoint(behaviour, wan_is_public=False, protocol=protocol)
        assert worth is Mapped.USELESS
    topology = carrier(profile.name, profile.name)
    private = replace(
        topology,
        networks=tuple(
            replace(n, scope=Scope.PRIVATE) if n.scope is Scope.SHARED else n
            for n in topology.networks
        ),
    )
    for steps in (planned(topology, profile, cgn), planned(private, profile, cgn)):
        with Namespaces().start(steps) as lab:
            mapper = Mapper(lab, "a", service)
            said = mapper.map(UDP)
            # PCP has a code for it, NETWORK_FAILURE, which miniupnpd 2.3.1 does not use here
            other = service is PCP and gateway is MINI
            assert said.startswith("NoResourcesError" if other else "NetworkFailureError")
            assert "dnat" not in lab.services["nat-a"].mappings()
            mapper.kill()


# -- certificates -------------------------------------------------------------


def _answers_outside(lab: Lab) -> None:
    """miniupnpd itself would not: its sockets are bound to the LAN."""
    rule = "nft insert rule ip nat_testbed input iifname wan udp dport 5351 accept"
    lab.run("nat-a", rule.split())

    def answer() -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((str(lab.plan.address("nat-a")), 5351))
        while True:
            sock.sendto(b"\0\x80" + bytes(10), sock.recvfrom(100)[1])

    lab.spawn("nat-a", answer)


def _stopped(lab: Lab) -> None:
    assert isinstance(lab, NamespaceLab)
    lab.services["nat-a"].stop()


def _configured(was: str, becomes: str) -> Sabotage:
    """The daemon runs with another configuration than the profile's."""

    def restart(lab: Lab) -> None:
        _stopped(lab)
        (step,) = lab.plan.of(ServePortMapping)
        assert was in step.config
        told = replace(step, config=step.config.replace(was, becomes))
        assert isinstance(lab, NamespaceLab)
        type(lab.services["nat-a"])(lab, told).start()

    return restart


def _told(**settings: object) -> Sabotage:
    """The testbed's gateway has another character than the profile's."""

    def restart(lab: Lab) -> None:
        _stopped(lab)
        (step,) = lab.plan.of(ServePortMapping)
        config = json.dumps(json.loads(step.config) | settings)
        OwnGateway(lab, replace(step, config=config)).start()

    return restart


SABOTAGES: dict[str, tuple[str, Sabotage, set[str]]] = {
    "no daemon": ("all-services-home", _stopped, {"services", "leases", "secure_mode"}),
    "open to the internet": ("all-services-home", _answers_outside, {"services_outside"}),
    "PCP, too": ("natpmp-home", _told(pcp=True), {"services"}),
    "the other version": ("upnp2-home", _configured("v1=no", "v1=yes"), {"services"}),
    "UPnP off": ("upnp2-home", _configured("upnp=yes", "upnp=no"), {"services", "secure_mode"}),
    "shorter leases": ("pcp-home", _told(max_lease=3600), {"leases"}),
    "inwards alone": ("pcp-home", _told(mapped_outward=False), {"mapped_outward"}),
    "nowhere": ("upnp-home", _told(forwards=False), {"forwards", "mapped_outward"}),
    "a second mapping": ("natpmp-home", _told(first_mapping_kept=False), {"first_mapping_kept"}),
    "another port": ("pcp-home", _told(prefer_failure=False), {"prefer_failure"}),
    "any nonce": ("pcp-home", _told(nonce=False), {"nonce"}),
    "version 2's action": ("upnp-home", _told(any_port=True), {"any_port"}),
    "725": ("upnp-home", _told(permanent_only=True), {"permanent_only"}),
    "a week": ("upnp-home", _told(static_lease=False), {"static_lease"}),
    "no 714": ("upnp-home", _told(absent_refused=False), {"absent_refused"}),
    "silence": ("natpmp-home", _told(version_errors=False), {"version_errors"}),
    "silence of PCP": ("pcp-home", _told(version_errors=False), {"version_errors"}),
    "no address": ("natpmp-home", _told(address_known=False), {"address_known"}),
    "no address by PCP": ("pcp-home", _told(address_known=False), {"address_known"}),
    "no address by UPnP": ("upnp-home", _told(address_known=False), {"address_known"}),
    "no clock": ("natpmp-home", _told(epoch_counts=False), {"epoch_counts"}),
    "no clock of PCP": ("pcp-home", _told(epoch_counts=False), {"epoch_counts"}),
    "not secure": ("upnp2-home", _configured("mode=yes", "mode=no"), {"secure_mode"}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Certificate]:
    return measured({name: case[:2] for name, case in SABOTAGES.items()})


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_service_that_is_not_as_declared_is_found_out(
    found: dict[str, Certificate], name: str
) -> None:
    axes = {axis.removeprefix("port_mapping.") for axis in wrong(found[name])}
    assert SABOTAGES[name][2] <= axes


def test_each_axis_of_a_gateway_has_a_sabotage() -> None:
    held = set.union(*(axes for _, _, axes in SABOTAGES.values()))
    assert {field.name for field in fields(MeasuredPortMapping)} <= held


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [("upnp2-home", "=lan", "=nowhere"), ("upnp-home", '"lan": "lan"', '"lan": "nowhere"')],
)
def test_a_daemon_that_ends_at_once_is_the_lab_s_trouble(name: str, was: str, becomes: str) -> None:
    profile = find(name)
    steps = planned(home_and_public(profile.name), profile)
    broken = tuple(
        replace(step, config=step.config.replace(was, becomes))
        if isinstance(step, ServePortMapping)
        else step
        for step in steps.steps
    )
    lab = Namespaces().start(replace(steps, steps=broken))
    with pytest.raises(BackendError, match="does not answer to UPnP"), lab:
        pass


def test_without_the_program_such_profiles_alone_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(miniupnpd, "PROGRAM", "no-such-daemon")
    with pytest.raises(UnfitError, match="miniupnpd-nftables"), home(find("upnp2-home")):
        pass
    for name in ("linux-home", "upnp-home"):
        with home(find(name)):
            pass
    certificate = certify(find("upnp2-home"))
    assert certificate.verdict is Verdict.INCONCLUSIVE
    assert certificate.fault is not None
    assert "miniupnpd-nftables" in sentence(certificate.fault)
