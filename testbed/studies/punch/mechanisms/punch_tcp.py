"""TCP hole punching: both ends connect to each other from the port that they listen on."""

from testbed.model.contract import Mode
from testbed.predict.punching import NO_PUNCH, PLAIN_DIAL_TCP, PUNCH_TCP
from testbed.studies.punch.mechanism import Mechanism, Patience, Play
from testbed.verdict.tried import Tries, is_call

# The kernel sends a SYN again after 1 and 3 s; who was refused dials again after 1 s.
_PATIENCE = Patience(waits_s=1.0, round_trips=30, usual_s=4.0)
_TRIES = Tries(is_call, number=2, seconds=1.0)

MECHANISM = Mechanism(
    name="punch_tcp",
    transport="tcp",
    offers="addresses",
    needs=frozenset({"stun"}),
    modes={
        "punch": Play(PUNCH_TCP, ("dialer", "listener"), tries=_TRIES),
        "plain_dial": Play(PLAIN_DIAL_TCP, ("dialer",), Mode.PLAIN_DIAL, tries=_TRIES),
        "silent": Play(NO_PUNCH, (), Mode.SILENT),
    },
    begins=lambda _agent: 0.0,
    patience=_PATIENCE,
)
