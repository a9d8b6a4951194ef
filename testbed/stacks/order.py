"""The order of the contract's messages, as a table that both sides walk."""

from enum import StrEnum

from testbed.errors import ContractError
from testbed.model.contract import Command, Event


class State(StrEnum):
    START = "start"
    GATHERING = "gathering"
    OFFERED = "offered"
    DIALING = "dialing"
    CONNECTED = "connected"
    ECHOING = "echoing"
    FAILED = "failed"
    SERVING = "serving"  # a public node, or one that has its verdicts
    CLOSING = "closing"
    CLOSED = "closed"


# (state, message) -> state; what is not here is refused.  The two directions are
# not synchronous, so a command may cross an event that makes it pointless.
TRANSITIONS: dict[tuple[State, str], State] = {
    (State.START, "configure"): State.GATHERING,
    (State.GATHERING, "listening"): State.GATHERING,
    (State.GATHERING, "observed"): State.GATHERING,
    (State.GATHERING, "reserved"): State.GATHERING,
    (State.GATHERING, "port_mapping"): State.GATHERING,
    (State.GATHERING, "reachability"): State.GATHERING,
    (State.GATHERING, "offer"): State.OFFERED,
    (State.GATHERING, "ready"): State.SERVING,
    (State.GATHERING, "verdicts"): State.SERVING,
    (State.SERVING, "reachability"): State.SERVING,
    (State.OFFERED, "reachability"): State.OFFERED,
    (State.OFFERED, "dial"): State.DIALING,
    (State.DIALING, "reachability"): State.DIALING,
    (State.DIALING, "connected"): State.CONNECTED,
    (State.CONNECTED, "reachability"): State.CONNECTED,
    (State.CONNECTED, "step"): State.CONNECTED,
    (State.CONNECTED, "rung"): State.CONNECTED,
    (State.CONNECTED, "upgraded"): State.CONNECTED,
    (State.CONNECTED, "lost"): State.CONNECTED,
    (State.CONNECTED, "stayed"): State.CONNECTED,
    (State.CONNECTED, "heard"): State.CONNECTED,
    (State.CONNECTED, "echo"): State.ECHOING,
    (State.ECHOING, "reachability"): State.ECHOING,
    (State.ECHOING, "step"): State.ECHOING,
    (State.ECHOING, "rung"): State.ECHOING,
    (State.ECHOING, "upgraded"): State.ECHOING,
    (State.ECHOING, "lost"): State.ECHOING,
    (State.ECHOING, "stayed"): State.ECHOING,
    (State.ECHOING, "echoed"): State.CONNECTED,
    # after a failure: commands that were under way are without effect
    (State.FAILED, "dial"): State.FAILED,
    (State.FAILED, "echo"): State.FAILED,
    (State.CLOSING, "closed"): State.CLOSED,
}
_UNDER_WAY = (
    *(State.GATHERING, State.OFFERED, State.DIALING, State.CONNECTED, State.ECHOING),
    State.SERVING,
)
TRANSITIONS |= {(state, "failed"): State.FAILED for state in _UNDER_WAY}
TRANSITIONS |= {(state, "close"): State.CLOSING for state in (*_UNDER_WAY, State.FAILED)}
# events that had left the peer before it read ``close``
TRANSITIONS |= {
    (State.CLOSING, name): State.CLOSING
    for name in (
        *("listening", "observed", "reserved", "port_mapping", "reachability", "offer"),
        *(
            "ready",
            "verdicts",
            "connected",
            "step",
            "rung",
            "upgraded",
            "lost",
            "stayed",
            "echoed",
            "heard",
            "accounted",
            "failed",
        ),
    )
}


def name_of(message: Command | Event) -> str:
    """The word that tells a message from others: its ``command`` or ``event``."""
    return message.command if isinstance(message, Command) else message.event


def step(state: State, message: Command | Event) -> State:
    """The state after ``message``; ContractError if it may not come in ``state``."""
    try:
        return TRANSITIONS[state, name_of(message)]
    except KeyError:
        raise ContractError(
            f"{name_of(message)!r} in state {state.value!r} is out of order"
        ) from None
