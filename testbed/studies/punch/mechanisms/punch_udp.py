"""UDP hole punching: both ends probe each other's mapped address from the port that has it."""

from testbed.model.contract import Mode
from testbed.model.life import Transport
from testbed.predict.punching import NO_PUNCH, PLAIN_DIAL_UDP, PUNCH_UDP
from testbed.studies.punch.mechanism import Mechanism, Play

MECHANISM = Mechanism(
    name="punch_udp",
    transport="udp",
    offers="addresses",
    carries=Transport.UDP,
    needs=frozenset({"stun"}),
    modes={
        "punch": Play(PUNCH_UDP, ("dialer", "listener")),
        "plain_dial": Play(PLAIN_DIAL_UDP, ("dialer",), Mode.PLAIN_DIAL),
        "silent": Play(NO_PUNCH, (), Mode.SILENT),
    },
    begins=lambda _agent: 0.0,
)
