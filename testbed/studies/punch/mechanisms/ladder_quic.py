"""Everything that our stack tries in order, over QUIC."""

from dataclasses import replace

from testbed.predict.dcutr import DCUTR_QUIC_OFF
from testbed.predict.ladder import LADDER_QUIC
from testbed.studies.punch.mechanisms import ladder_tcp

_TCP = ladder_tcp.MECHANISM

MECHANISM = replace(
    _TCP,
    name="ladder_quic",
    transport="udp",
    offers="multiaddrs",
    modes={
        "punch": replace(_TCP.modes["punch"], model=LADDER_QUIC),
        "relay_only": replace(_TCP.modes["relay_only"], model=DCUTR_QUIC_OFF),
    },
)
