"""Everything that our stack tries in order, over QUIC."""

from dataclasses import replace

from testbed.model.life import Transport
from testbed.predict.dcutr import DCUTR_QUIC_OFF
from testbed.predict.ladder import LADDER_QUIC
from testbed.studies.punch.mechanisms import ladder_tcp
from testbed.verdict.tried_direct import untried_initials

_TCP = ladder_tcp.MECHANISM

MECHANISM = replace(
    _TCP,
    name="ladder_quic",
    transport="udp",
    offers="multiaddrs",
    carries=Transport.QUIC,
    modes={
        "punch": replace(_TCP.modes["punch"], model=LADDER_QUIC, indirect=untried_initials),
        "relay_only": replace(_TCP.modes["relay_only"], model=DCUTR_QUIC_OFF),
    },
)
