"""Our clients at gateways with a character: they get on with each, and end as predicted."""

from pathlib import Path

import pytest
from trying import CATALOGUE, ran

from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.studies.punch.cell import Cell

pytestmark = pytest.mark.timeout(180)
# Behind a symmetric dialer only the listener's gateway can help.
ENDS = {
    "upnp-permanent": Outcome.DIRECT,  # 725, and then without an end
    "upnp-idle": Outcome.RELAYED,  # granted, advertised, and nobody is let in
    "natpmp-odd": Outcome.DIRECT,  # no address is told, but the port is open all the same
}


@pytest.mark.parametrize("peer", ["ladder-tcp", "ladder-quic"])
@pytest.mark.parametrize("listener", ENDS)
def test_a_ladder_ends_as_predicted_at_a_gateway_with_a_character(
    peer: str, listener: str, tmp_path: Path
) -> None:
    result = ran(Cell(peer, ("symmetric", listener), "libp2p"), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is ENDS[listener]


@pytest.mark.parametrize("peer", ["ladder-tcp", "ladder-quic"])
def test_a_port_that_is_granted_under_a_carriers_nat_helps_nobody(
    peer: str, tmp_path: Path
) -> None:
    assert CATALOGUE["upnp-permanent"].behaviour.port_mapping.private_wan
    result = ran(Cell(peer, ("upnp-permanent", "upnp-permanent"), "carrier"), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
