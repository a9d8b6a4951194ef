"""Direct Connection Upgrade through Relay (libp2p) over TCP.  Its control upgrades nothing."""

from testbed.model.life import Transport
from testbed.predict.dcutr import DCUTR_OFF, DCUTR_TCP
from testbed.studies.punch.mechanism import Mechanism, Play
from testbed.studies.punch.upgrades import relay_kept, upgraded
from testbed.verdict.tried_direct import untried_calls

MECHANISM = Mechanism(
    name="dcutr_tcp",
    transport="tcp",
    offers="multiaddrs",
    clear=False,
    carries=Transport.TCP,
    needs=frozenset({"relay", "observers"}),
    modes={
        "punch": Play(DCUTR_TCP, ("dialer", "listener"), check=upgraded, indirect=untried_calls),
        "relay_only": Play(DCUTR_OFF, relay_only=True, check=relay_kept),
    },
    topology="libp2p",
    roles=frozenset({"relay", "autonat_server", "autonat_client"}),
    contracts=frozenset({"lines", "unified"}),
)
