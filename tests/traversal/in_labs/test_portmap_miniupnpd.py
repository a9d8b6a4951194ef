"""Port mapping against Debian's miniupnpd on a lab's router: who is reached, and for how long."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.model.lab import Lab
from testbed.model.topology import Scope
from testbed.traversal.portmap.mapping import Service, Transport

from .portmap_lab import (
    PORT,
    SILENCE,
    Daemon,
    Mapper,
    carrier,
    home,
    lab_of,
    miniupnpd,
    reaches,
    require_short_leases,
    rules,
)

pytestmark = pytest.mark.timeout(120)
UDP, TCP = Transport.UDP, Transport.TCP
PCP, PMP, V1, V2 = Service.PCP, Service.NAT_PMP, Service.UPNP_V1, Service.UPNP_V2
EACH = pytest.mark.parametrize("service", [PCP, PMP, V1, V2])
ENGINES = pytest.mark.parametrize("profile", ["eim-apdf", "linux-home"])  # nftables, iptables


def daemon(service: Service, *extra: str) -> Daemon:
    upnp = service in (V1, V2)
    return Daemon(upnp, service is V1, not upnp, extra)


@contextlib.contextmanager
def mapped(
    service: Service, *transports: Transport, profile: str = "eim-apdf", lifetime: int = 600
) -> Iterator[tuple[Lab, Mapper, list[dict[str, Any]]]]:
    with lab_of(home(profile)) as lab, miniupnpd(lab, "nat-a", daemon(service)):
        mapper = Mapper(lab, "a", service, lifetime=lifetime)
        yield lab, mapper, [mapper.map(transport) for transport in transports]
        mapper.kill()


def wan(lab: Lab) -> tuple[str, int]:
    return str(lab.plan.address("nat-a")), PORT


@EACH
@ENGINES
def test_a_stranger_reaches_a_mapped_port_and_only_while_it_is_mapped(
    service: Service, profile: str
) -> None:
    with lab_of(home(profile)) as lab, miniupnpd(lab, "nat-a", daemon(service)):
        mapper = Mapper(lab, "a", service)
        for transport in (UDP, TCP):
            to = wan(lab)
            assert not reaches(lab, "b", transport, to, SILENCE)
            made = mapper.map(transport)
            assert made["external"] == f"{to[0]}:{to[1]}"
            assert made["service"] == service
            assert 598 <= made["lifetime"] <= 600  # UPnP tells what is left
            assert made["useless"] is None
            assert f"dport {PORT} dnat ip to {lab.plan.address('a')}:{PORT}" in rules(lab)
            assert reaches(lab, "b", transport, to)
            assert mapper.ask("unmap", transport=transport, port=PORT) == "done"
            assert "dnat ip" not in rules(lab)
            assert not reaches(lab, "c", transport, to, SILENCE)
        mapper.map(UDP)
        mapper.close()
        assert "dnat ip" not in rules(lab)


@EACH
def test_a_mapping_that_nobody_renews_ends_with_its_lease(service: Service) -> None:
    require_short_leases(service)
    with mapped(service, UDP, TCP, lifetime=2) as (lab, mapper, _):
        assert reaches(lab, "b", TCP, wan(lab))
        mapper.kill()
        end = time.monotonic() + 15
        while "dnat ip" in rules(lab):
            assert time.monotonic() < end, "waited for the leases to end"
            time.sleep(0.1)
        assert not reaches(lab, "c", UDP, wan(lab), SILENCE)


@EACH
def test_renewal_keeps_a_mapping_past_its_lease(service: Service) -> None:
    require_short_leases(service)
    with mapped(service, UDP, TCP, lifetime=4) as (lab, mapper, _):
        start = time.monotonic()
        while time.monotonic() - start < 7:
            mapper.wait(4, "PortMapped", renewed=True)
            assert reaches(lab, "b", UDP, wan(lab))
            assert reaches(lab, "b", TCP, wan(lab))
        assert not [e for e in mapper.events if e["event"] in ("PortMapLost", "PortMapFailed")]


@EACH
def test_a_daemon_that_forgot_everything_is_asked_anew(service: Service) -> None:
    """It announces its start, but not in NAT-PMP's format: there the renewal's epoch tells."""
    with lab_of(home("eim-apdf")) as lab:
        with miniupnpd(lab, "nat-a", daemon(service)) as router:
            time.sleep(4.2)  # its epoch is beyond the leeway that both RFCs give, and rounding
            mapper = Mapper(lab, "a", service, lifetime=10)
            mapper.map(UDP)
        router.forget()  # looked at before the next one announces itself, and is asked
        assert "dnat ip" not in rules(lab)
        with miniupnpd(lab, "nat-a", daemon(service)):
            mapper.wait(8 if service is PMP else 3, "PortMapLost")
            mapper.wait(3, "PortMapped", renewed=False)
            assert "dnat ip" in rules(lab)
            assert reaches(lab, "b", UDP, wan(lab))
        mapper.kill()


@EACH
@pytest.mark.parametrize("between", [Scope.SHARED, Scope.PRIVATE])
def test_under_carrier_nat_the_gateway_maps_nothing_and_the_error_says_why(
    service: Service, between: Scope
) -> None:
    with lab_of(carrier("eim-apdf", between)) as lab, miniupnpd(lab, "nat-a", daemon(service)):
        mapper = Mapper(lab, "a", service)
        said = mapper.map(UDP)
        # PCP has a code for it, NETWORK_FAILURE, which version 2.3.1 does not use here
        assert said.startswith("NoResourcesError" if service is PCP else "NetworkFailureError")
        assert "dnat ip" not in rules(lab)
        mapper.kill()


def test_under_carrier_nat_the_service_that_says_why_is_the_one_that_is_heard() -> None:
    with lab_of(carrier("eim-apdf", Scope.SHARED)) as lab, miniupnpd(lab, "nat-a", Daemon()):
        mapper = Mapper(lab, "a", PCP, PMP, V2)
        assert mapper.map(UDP).startswith("NetworkFailureError")
        mapper.kill()


def test_a_mapping_through_a_link_that_went_and_came_is_still_there() -> None:
    with mapped(PCP, UDP) as (lab, mapper, _):
        lab.run("a", ["ip", "link", "set", "eth0", "down"])
        lab.run("a", ["ip", "link", "set", "eth0", "up"])
        lab.run("a", ["ip", "route", "replace", "default", "via", "10.0.0.1"])
        assert reaches(lab, "b", UDP, wan(lab))
        assert [e["event"] for e in mapper.events] == ["PortMapped"]


@EACH
def test_a_host_with_a_new_address_gets_a_new_mapping(service: Service) -> None:
    with mapped(service, UDP) as (lab, mapper, _):
        lab.run("a", ["ip", "addr", "add", "10.0.0.77/24", "dev", "eth0"])
        route = ["ip", "route", "replace", "default", "via", "10.0.0.1", "src", "10.0.0.77"]
        lab.run("a", ["ip", "route", "replace", "10.0.0.0/24", "dev", "eth0", "src", "10.0.0.77"])
        lab.run("a", route)
        mapper.wait(3, "PortMapLost")
        now = mapper.wait(3, "PortMapped", renewed=False)["mapping"]
        assert now["internal"] == f"10.0.0.77:{PORT}"
        assert f"dnat ip to 10.0.0.77:{now['internal'].split(':')[1]}" in rules(lab)
