"""ICE (RFC 8445) with STUN and TURN.  Its control is ICE with relayed candidates alone."""

from testbed.predict.ice import ICE, ICE_RELAY_ONLY
from testbed.studies.punch.mechanism import Mechanism, Play
from testbed.verdict.tried_direct import untried_checks

MECHANISM = Mechanism(
    name="ice",
    transport="udp",
    offers="ice",
    needs=frozenset({"stun", "turn"}),
    modes={
        "punch": Play(ICE, ("dialer", "listener"), indirect=untried_checks),
        "relay_only": Play(ICE_RELAY_ONLY, relay_only=True),
    },
    begins=lambda agent: None if agent.assumed else agent.begins,
)
