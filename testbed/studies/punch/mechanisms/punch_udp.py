"""UDP hole punching: both ends probe each other's mapped address from the port that has it."""

from testbed.model.contract import Mode
from testbed.model.life import Transport
from testbed.predict.punching import NO_PUNCH, PLAIN_DIAL_UDP, PUNCH_UDP
from testbed.studies.punch.mechanism import Mechanism, Patience, Play
from testbed.verdict.tried import Tries, is_probe

_PATIENCE = Patience(waits_s=0.0, round_trips=30, usual_s=3.0)
# By the contract a probe leaves every 50 ms for 3 s; a busy machine leaves some out.
_TRIES = Tries(is_probe, number=10, seconds=2.0)

MECHANISM = Mechanism(
    name="punch_udp",
    transport="udp",
    offers="addresses",
    carries=Transport.UDP,
    needs=frozenset({"stun"}),
    modes={
        "punch": Play(PUNCH_UDP, ("dialer", "listener"), tries=_TRIES),
        "plain_dial": Play(PLAIN_DIAL_UDP, ("dialer",), Mode.PLAIN_DIAL, tries=_TRIES),
        "silent": Play(NO_PUNCH, (), Mode.SILENT),
    },
    begins=lambda _agent: 0.0,
    patience=_PATIENCE,
)
