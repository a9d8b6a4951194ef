"""Everything that our stack tries in order, over TCP: mapped ports, dials, upgrades, the relay."""

from testbed.predict.dcutr import DCUTR_OFF
from testbed.predict.ladder import LADDER_TCP
from testbed.studies.punch.mechanism import Mechanism, Play
from testbed.studies.punch.upgrades import climbed, relay_kept, rung_kept
from testbed.verdict.tried_direct import untried_calls

MECHANISM = Mechanism(
    name="ladder_tcp",
    transport="tcp",
    offers="multiaddrs",
    clear=False,
    needs=frozenset({"relay", "observers"}),
    modes={
        "punch": Play(LADDER_TCP, ("dialer", "listener"), check=rung_kept, indirect=untried_calls),
        "relay_only": Play(DCUTR_OFF, relay_only=True, check=relay_kept),
    },
    topology="libp2p",
    climbed=climbed,
)
