"""Everything that our stack tries in order, over QUIC, and last a relay that it pays."""

from dataclasses import replace

from testbed.predict.ladder import RENTED_QUIC
from testbed.studies.punch.mechanisms import ladder_quic, rented_tcp
from testbed.studies.punch.rents import kept, relay_kept

_LADDER, _TCP = ladder_quic.MECHANISM, rented_tcp.MECHANISM

MECHANISM = replace(
    _LADDER,
    name="rented_quic",
    relay_features=_TCP.relay_features,
    modes={
        "punch": replace(_LADDER.modes["punch"], model=RENTED_QUIC, check=kept),
        "relay_only": replace(_LADDER.modes["relay_only"], check=relay_kept),
    },
    carries=None,
    climbed=_TCP.climbed,
)
