"""Port mapping as profiles declare it: real miniupnpd, strangers, and what the wire says."""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from broken_nats import Sabotage, measured, wrong
from traversal.portmap_lab import PORT, SILENCE, Mapper, require_short_leases

from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.certify.certificates import Certificate, Verdict, certify
from testbed.errors import BackendError, UnfitError
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.services import miniupnpd
from testbed.model.behaviour import PortMapping, Protocol
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint
from testbed.model.plan import Plan, ServePortMapping, Vantage
from testbed.model.presets import carrier, home_and_public
from testbed.model.profile import Profile
from testbed.model.topology import Scope, Topology
from testbed.nat.load import find
from testbed.plan.planner import plan
from testbed.predict.port_mapping import Mapped, mapped_endpoint
from testbed.traversal.portmap.mapping import Service, Transport

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
    ("all-services-home", V2),
]
EVERY = (PCP, PMP, V2)


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
        kind = socket.SOCK_DGRAM if transport is UDP else socket.SOCK_STREAM
        word, answered = os.urandom(16), False
        with self.lab.socket("b", socket.AF_INET, kind) as sock:
            here = self.lab.plan.address("b")
            sock.bind((str(here), 0))
            source = Endpoint(here, sock.getsockname()[1])
            sock.settimeout(within)
            try:
                sock.connect((str(self.lab.plan.address("nat-a")), PORT))
                sock.sendall(word)
                answered = sock.recv(100) == word
            except OSError:
                pass
        self.calls.append(Call(phase, transport.value, source, answered))
        return answered


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
    rule = f"th dport {PORT} dnat ip to {host}:{PORT}"
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
            assert made["useless"] is None
            within = 2.0 if expected[Protocol(transport.value)] is Mapped.REACHABLE else SILENCE
            reached = Strangers(lab)._one("mapped", transport, within)
            found[Protocol(transport.value)] = Mapped.REACHABLE if reached else Mapped.CLOSED
        mapper.kill()
    assert found == expected


@pytest.mark.parametrize("service", [PCP, PMP, V2])
def test_under_carrier_nat_a_service_maps_nothing(service: Service) -> None:
    profile, cgn = find("all-services-home"), find("carrier-grade")
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
            # PCP has a code for it, NETWORK_FAILURE, which version 2.3.1 does not use here
            assert said.startswith("NoResourcesError" if service is PCP else "NetworkFailureError")
            assert "dnat" not in lab.services["nat-a"].mappings()
            mapper.kill()


# -- certificates -------------------------------------------------------------


def _unfiltered(lab: Lab) -> None:
    lab.run("nat-a", ["nft", "flush", "chain", "inet", "portmap", "input"])


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
        miniupnpd.Miniupnpd(lab, replace(step, config=step.config.replace(was, becomes))).start()

    return restart


SABOTAGES: dict[str, tuple[str, Sabotage, set[str]]] = {
    "no daemon": ("all-services-home", _stopped, {"services", "leases", "secure_mode"}),
    "open to the internet": ("all-services-home", _answers_outside, {"services_outside"}),
    "PCP, too": ("natpmp-home", _unfiltered, {"services"}),
    "the other version": ("upnp2-home", _configured("v1=no", "v1=yes"), {"services"}),
    "UPnP off": ("upnp-home", _configured("upnp=yes", "upnp=no"), {"services", "secure_mode"}),
    "shorter leases": ("pcp-home", _configured("=86400", "=3600"), {"leases"}),
    "not secure": ("upnp2-home", _configured("mode=yes", "mode=no"), {"secure_mode"}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Certificate]:
    return measured({name: case[:2] for name, case in SABOTAGES.items()})


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_service_that_is_not_as_declared_is_found_out(
    found: dict[str, Certificate], name: str
) -> None:
    assert SABOTAGES[name][2] <= wrong(found[name])


def test_a_daemon_that_ends_at_once_is_the_lab_s_trouble() -> None:
    profile = find("upnp-home")
    steps = planned(home_and_public(profile.name), profile)
    broken = tuple(
        replace(step, config=step.config.replace("=lan", "=nowhere"))
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
    with pytest.raises(UnfitError, match="miniupnpd-nftables"), home(find("upnp-home")):
        pass
    with home(find("linux-home")):
        pass
    certificate = certify(find("upnp-home"))
    assert certificate.verdict is Verdict.INCONCLUSIVE
    assert "miniupnpd-nftables" in certificate.reason
