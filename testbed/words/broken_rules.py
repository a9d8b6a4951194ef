"""Sentences about the rules of the contract that a peer broke, and what was not looked at."""

from testbed.model.peer_check import BrokenRule, Gap, Rule, Sign, Unchecked

_RULES = {
    Rule.LINE_NOT_JSON: "wrote a line to stdout that is no JSON object: {found!r}. Words go to "
    "stderr",
    Rule.LINE_TOO_LONG: "wrote a line of {found} bytes or more; {expected} are allowed",
    Rule.LINE_UNFINISHED: "ended its stdout within a line: {found!r}",
    Rule.EVENT_UNKNOWN: "wrote an event that there is not: {event!r} in {found!r}",
    Rule.FIELD_MISSING: "left out {field} of the event {event}: {found}",
    Rule.FIELD_UNKNOWN: "put a field into the event {event} that there is not, {field}: {found}",
    Rule.FIELD_WRONG: "said in {event} that {field} is {found}: {expected} is due",
    Rule.OUT_OF_ORDER: "said {event} in the state {found}, in which it may not come",
    Rule.NO_ANSWER: "did not answer {event} within {expected:g} s",
    Rule.STDOUT_BUFFERED: "held back {event} until it ended: its stdout is buffered. Flush after "
    "every line",
    Rule.CLOCK_OFF: "dated {event} {found:+g} s from when it was read, before it was configured or "
    "in the future: `at` is nanoseconds of CLOCK_MONOTONIC",
    Rule.DIALED_EARLY: "sent something {found:g} ms before start_at",
    Rule.DIALED_LATE: "sent its first probe {found:g} ms after start_at, and did not wait for a "
    "processor so long; within {expected:g} ms is due",
    Rule.GAVE_UP_EARLY: "gave up {found:g} s after start_at; a dial is tried for 3 s",
    Rule.EXITED_EARLY: "ended with exit code {found} while the answer to {event} was due",
    Rule.CLOSE_IGNORED: "did not answer close with closed within {expected:g} s",
    Rule.OUTPUT_AFTER_CLOSED: "wrote a line after closed: {found!r}",
    Rule.STILL_RUNNING: "still ran {expected:g} s after closed",
    Rule.EXIT_CODE: "ended with exit code {found} after closed instead of 0",
    Rule.OUTLIVED_STDIN: "still ran {expected:g} s after its stdin had ended",
    Rule.NOT_BOUND: "was to bind {expected} and is at {found}, by {event}",
    Rule.OBSERVED_WRONG: "said in {event} that it is seen as {found}; the STUN server saw "
    "{expected}",
    Rule.OFFER_EMPTY: "offered nothing that can be dialed: {field} is empty",
    Rule.OFFER_WRONG: "offered {found}; the STUN server saw {expected}",
    Rule.NOT_CONNECTED: "got nowhere with {event} although nothing is in the way: {found}",
    Rule.CLAIM_WRONG: "said in {event} what is not so: {claim}",
    Rule.MODE_IGNORED: "did not keep to the mode {expected}: {seen}",
    Rule.FAILURE_WRONG: "answered {event} with the failure {found} instead of {expected}",
    Rule.ECHO_SHORT: "said that {found} of {expected} bytes came back; all did",
    Rule.ECHO_OVERSTATED: "said that {found} bytes came back; it had sent {expected}",
    Rule.ECHO_NOT_RETURNED: "was sent {expected} bytes to send back; came back: {found}",
    Rule.ECHO_ALTERED: "sent a frame back with another payload: number {found}",
    Rule.ECHO_NOT_RESENT: "did not send the frame {found} again, which had not come back",
    Rule.NONCE_MISSING: "echoed what does not begin with the nonce that it was told: {found}; "
    "{expected} is due",
    Rule.FRAME_MALFORMED: "sent something that is no frame: {found}",
    Rule.FRAME_FOREIGN: "sent a frame with a wrong {field}: {found}",
    Rule.FRAME_SMALL: "echoed in frames of at most {found} bytes; fewer than {expected} prove "
    "nothing",
    Rule.FRAME_LARGE: "sent a frame with a payload of {found} bytes; {expected} are allowed",
    Rule.STRANGER_HEEDED: "answered a frame with a wrong {field}, which is a stranger's",
    Rule.ACK_MISPLACED: "said connected by an ACK that came from another address than the one its "
    "probe was sent to",
}
_SIGNS = {
    Sign.SENT: "it sent something to the other side",
    Sign.UNASKED: "it sent something before the other side had called it",
    Sign.CONNECTED: "it said that it is connected",
    Sign.PORT: "its connection is not one with the dialer's fresh port",
}
_GAPS = {
    Gap.UNSUPPORTED: "the peer says that it cannot",
    Gap.GATHERING: "the peer did not learn its address on loopback",
    Gap.CHECKS: "the peer found no way on loopback; many ICE agents leave out its addresses",
    Gap.PARTNER: "our own side failed, and the peer is not to blame",
    Gap.BUSY: "the machine was too busy: the peer had to wait for a processor. Try again",
}


def sentence(one: BrokenRule) -> str:
    """What the peer did."""
    claim = one.field or "the other side is not connected"
    if one.field:
        claim = f"{one.field} is {one.found}"
        claim += f", not {one.expected}" if one.expected is not None else ""
    elif one.found:
        claim = f"the other side says: {one.found}"
    return _RULES[one.rule].format(
        event=one.event,
        field=one.field,
        expected=one.expected,
        found=one.found,
        claim=claim,
        seen=_SIGNS[Sign(str(one.found))] if one.rule is Rule.MODE_IGNORED else "",
    )


def gap(one: Unchecked) -> str:
    """Why a scene says nothing."""
    return f"{_GAPS[one.gap]}: {one.words}" if one.words else _GAPS[one.gap]
