"""Everything that our stack tries in order, over TCP, and last a relay that it pays."""

from dataclasses import replace

from testbed.predict.ladder import RENTED_TCP
from testbed.studies.punch.mechanisms import ladder_tcp
from testbed.studies.punch.rents import climbed, kept, relay_kept

_LADDER = ladder_tcp.MECHANISM

MECHANISM = replace(
    _LADDER,
    name="rented_tcp",
    relay_features=frozenset({"rent"}),
    modes={
        "punch": replace(_LADDER.modes["punch"], model=RENTED_TCP, check=kept),
        "relay_only": replace(_LADDER.modes["relay_only"], check=relay_kept),
    },
    climbed=climbed,
)
