"""Programs that others wrote say of our NATs what their profiles declare, and our prober measures.

Debian's stun-client (RFC 3489's words) and the clients of MiniUPnP and of NAT-PMP run in a lab of
each profile, beside coturn; coturn's own client is in test_discovery.py.  A program that this
machine has not got is told as a skip.  Where a judge differs, nat-profiles/CATALOGUE.md says why.
"""

import re
import shutil
from dataclasses import dataclass

import pytest
from discovery import discovery_options
from shared import once
from sweep import Outcome, sweep

from testbed.model.behaviour import Filtering, Mapping, Protocol
from testbed.model.lab import Lab
from testbed.model.presets import home_and_public
from testbed.model.topology import Topology
from testbed.nat.load import catalogue
from testbed.stacks.coturn import Coturn, coturn

CATALOGUE = catalogue()
CLIENT, SERVER, ROUTER = "a", "server", "nat-a"
JOBS, PATIENCE = 12, 40.0
PACKAGES = {"stun": "stun-client", "upnpc": "miniupnpc", "natpmpc": "natpmpc"}
NATPMP_ANSWERED, PORT = "Public IP address", 6100
_PRIMARY = re.compile(r"^Primary: (.*?)\s*$", re.MULTILINE)
FILTERS = {
    "Independent Filter": Filtering.ENDPOINT_INDEPENDENT,
    "Address Dependent Filter": Filtering.ADDRESS_DEPENDENT,
    "Port Dependent Filter": Filtering.ADDRESS_AND_PORT_DEPENDENT,
}


@dataclass(frozen=True)
class Heard:
    """What each program printed; None where it is not installed."""

    stun: str | None
    upnpc: str | None
    natpmpc: str | None
    mapped: str | None  # upnpc, asked to map a port


def _bench(profile: str) -> Topology:
    return home_and_public(profile)


def _said(lab: Lab, *command: str) -> str | None:
    """What a program printed to its end, also where it says no; None where it is missing."""
    if shutil.which(command[0]) is None:
        return None
    process = lab.spawn(CLIENT, ["sh", "-c", 'exec "$@" 2>&1', "sh", *command])
    try:
        process.wait(PATIENCE)
    except TimeoutError:
        process.kill()
        return "no answer"
    return process.stdout.read().decode(errors="replace")


def _measure(lab: Lab) -> Heard:
    address = str(lab.plan.address(CLIENT))
    server = Coturn(lab.plan.addresses[SERVER], options=discovery_options(lab, SERVER))
    with coturn(lab, SERVER, server):
        stun = _said(lab, "stun", str(lab.plan.address(SERVER)))
    return Heard(
        stun,
        _said(lab, "upnpc", "-s"),
        _said(lab, "natpmpc"),
        _said(lab, "upnpc", "-a", address, str(PORT), str(PORT), "UDP"),
    )


Found = dict[str, Outcome[Heard]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    def everywhere() -> Found:
        asked = sweep(list(CATALOGUE.values()), _bench, _measure, JOBS)
        return {profile.name: outcome for profile, outcome in asked}

    return once(tmp_path_factory, "judges", everywhere)


def _heard(found: Found, name: str, program: str) -> str:
    outcome = found[name]
    assert outcome.result is not None, outcome.error
    said: str | None = getattr(outcome.result, program)
    if said is None:
        tool = "upnpc" if program == "mapped" else program
        pytest.skip(f"NO JUDGE: {tool} is not installed: apt-get install {PACKAGES[tool]}")
    return said


@pytest.mark.parametrize("name", CATALOGUE)
def test_stun_client_says_what_the_profile_declares(name: str, found: Found) -> None:
    said = _heard(found, name, "stun")
    udp = CATALOGUE[name].behaviour.udp
    primary = _PRIMARY.search(said)
    assert primary is not None, said
    words = primary[1]
    if udp.blocked or udp.allowed_ports:
        assert "Blocked" in words, said
        return
    if udp.mapping is Mapping.NONE:
        assert "Firewall" in words or "Open" in words, said
        return
    independent = udp.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert ("Independent Mapping" in words) is independent, said
    if independent:
        told = [axis for name, axis in FILTERS.items() if name in words.split(", ")]
        assert told == [CATALOGUE[name].behaviour.filters(Protocol.UDP, 0)], said


@pytest.mark.parametrize("name", CATALOGUE)
def test_upnpc_finds_and_uses_a_gateway_where_the_profile_has_one(name: str, found: Found) -> None:
    said, mapped = _heard(found, name, "upnpc"), _heard(found, name, "mapped")
    if CATALOGUE[name].behaviour.port_mapping.upnp_igd:
        assert "Found valid IGD" in said, said
        assert re.search(rf"external \S+:{PORT} UDP is redirected to internal", mapped), mapped
    else:
        assert "No IGD UPnP Device found" in said, said


@pytest.mark.parametrize("name", CATALOGUE)
def test_natpmpc_is_answered_where_the_profile_has_the_service(name: str, found: Found) -> None:
    said = _heard(found, name, "natpmpc")
    assert (NATPMP_ANSWERED in said) is CATALOGUE[name].behaviour.port_mapping.nat_pmp, said
