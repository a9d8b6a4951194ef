"""RFC 5780 by our client, by coturn, and the prober's measurement say the same of each NAT."""

import discovery
import pytest
from discovery import Discovered
from shared import once, profiles_certified
from sweep import Outcome, sweep

from testbed.certify.allowance import ENOUGH, declared
from testbed.certify.certificates import Certificate
from testbed.model.behaviour import Protocol
from testbed.model.presets import home_and_public
from testbed.model.profile import Profile
from testbed.model.topology import Topology
from testbed.nat.load import catalogue
from testbed.traversal.nat_discovery import Behaviour

JOBS = 16  # who waits for silence needs no processor
CATALOGUE = catalogue()
# RFC 5780 sends to itself from one host.  Where the NAT leaves the internal source in place, the
# packet comes home from the host's own address, and Linux drops it as a martian: our prober,
# which has two hosts, sees what RFC 5780 section 3.4 cannot.
SEEN_BY_ONE_HOST = ("external_source",)
Found = tuple[dict[str, Outcome[Discovered]], dict[str, Certificate]]


def _bench(profile: str) -> Topology:
    return home_and_public(profile)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    def everywhere() -> dict[str, Outcome[Discovered]]:
        asked = sweep(list(CATALOGUE.values()), _bench, discovery.measure, JOBS)
        return {profile.name: outcome for profile, outcome in asked}

    return once(tmp_path_factory, "discovery", everywhere), profiles_certified(tmp_path_factory)


def _probed(certificate: Certificate, axis: str) -> str | None:
    """None where the claim says that this axis is not to be seen from outside."""
    return next((row.measured for row in certificate.rows if row.axis == axis), None)


def _blocked(profile: Profile) -> bool:
    """Nothing over UDP gets out, or not to a STUN server's ports."""
    udp = profile.behaviour.udp
    return udp.blocked or bool(udp.allowed_ports)


@pytest.mark.parametrize("name", CATALOGUE)
def test_our_discovery_says_what_the_prober_measured(name: str, found: Found) -> None:
    outcomes, certificates = found
    outcome = outcomes[name]
    assert outcome.result is not None, outcome.error
    for told in (outcome.result.ours, outcome.result.with_coturn):
        if _blocked(CATALOGUE[name]):
            assert told.mapping is None
            assert "no answer" in told.why
        elif _is_tight(CATALOGUE[name]):
            _is_seen(told, certificates[name])
        else:
            _agrees(told, certificates[name])


DEPENDING = ("endpoint_independent", "address_dependent", "address_and_port_dependent")


def _is_tight(profile: Profile) -> bool:
    """One client's requests may use up what the NAT allows: then the rest is not to be seen."""
    return declared(profile.behaviour, Protocol.UDP) != ENOUGH


def _is_seen(told: Behaviour, certificate: Certificate) -> None:
    """What is said is right; what would take another mapping is not said."""
    assert told.mapping in (_probed(certificate, "udp.mapping"), None)
    assert told.filtering in (_probed(certificate, "udp.filtering"), None)
    assert told.hairpin in ((_probed(certificate, "udp.hairpin") in SEEN_BY_ONE_HOST), None)


def _agrees(told: Behaviour, certificate: Certificate) -> None:
    if told.translated:
        assert told.mapping == _probed(certificate, "udp.mapping")
    else:
        assert _probed(certificate, "udp.mapping") == "none"
    assert told.filtering == _probed(certificate, "udp.filtering"), told.why
    hairpin = _probed(certificate, "udp.hairpin")
    if told.translated and hairpin is not None:
        assert told.hairpin == (hairpin in SEEN_BY_ONE_HOST)


@pytest.mark.parametrize("name", CATALOGUE)
def test_coturns_client_says_the_same(name: str, found: Found) -> None:
    outcome = found[0][name]
    assert outcome.result is not None, outcome.error
    second, ours = outcome.result.coturns, outcome.result.with_coturn
    if _is_tight(CATALOGUE[name]):
        probed = [_probed(found[1][name], f"udp.{axis}") for axis in ("mapping", "filtering")]
        # A request that is refused leaves it with the answer to the one before, so that it takes
        # the mapping for one that depends on less: on nothing, or (at the third) on the address.
        shown = DEPENDING.index(second.mapping) if second.mapping else 0
        assert shown <= DEPENDING.index(str(probed[0]))
        assert second.filtering in (probed[1], None)
        return
    if ours.translated is False:
        assert second.mapping in ("no_nat", "endpoint_independent")
    else:
        assert second.mapping == ours.mapping
    assert second.filtering == ours.filtering
