"""Direct Connection Upgrade through Relay (libp2p) over QUIC."""

from dataclasses import replace

from testbed.model.life import Transport
from testbed.predict.dcutr import DCUTR_QUIC, DCUTR_QUIC_OFF
from testbed.studies.punch.mechanisms import dcutr_tcp
from testbed.verdict.tried_direct import untried_initials

_TCP = dcutr_tcp.MECHANISM

MECHANISM = replace(
    _TCP,
    name="dcutr_quic",
    transport="udp",
    offers="multiaddrs",
    carries=Transport.QUIC,
    modes={
        "punch": replace(_TCP.modes["punch"], model=DCUTR_QUIC, indirect=untried_initials),
        "relay_only": replace(_TCP.modes["relay_only"], model=DCUTR_QUIC_OFF),
    },
)
