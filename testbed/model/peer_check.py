"""What `testbed peer check` finds: broken rules, and what was not looked at.  Values only."""

import dataclasses
from enum import StrEnum
from typing import Any

from testbed.model.frozen import FrozenValue


class Scene(StrEnum):
    """One conversation with a process of its own.  The names of those that are played together."""

    DIALER = "dialer"  # punches, is told to echo
    LISTENER = "listener"  # punches, sends an echo back
    NOBODY = "nobody"  # dials where nobody answers
    INTERRUPTED = "interrupted"  # is told to close between `dial` and its start
    ORPHANED = "orphaned"  # its stdin ends
    SILENT = "silent"  # mode silent
    PLAIN_DIALER = "plain_dialer"  # mode plain_dial
    PLAIN_LISTENER = "plain_listener"
    RELAYED_DIALER = "relayed_dialer"  # relay_only
    RELAYED_LISTENER = "relayed_listener"
    RELAY = "relay"  # the roles of public libp2p nodes, and of AutoNAT's client
    AUTONAT_SERVER = "autonat_server"
    AUTONAT_CLIENT = "autonat_client"


class Rule(StrEnum):
    """Every rule of the contract that a peer can break, each with the fields that say how."""

    # lines
    LINE_NOT_JSON = "line_not_json"
    LINE_TOO_LONG = "line_too_long"
    LINE_UNFINISHED = "line_unfinished"
    EVENT_UNKNOWN = "event_unknown"
    FIELD_MISSING = "field_missing"
    FIELD_UNKNOWN = "field_unknown"
    FIELD_WRONG = "field_wrong"
    # order and time
    OUT_OF_ORDER = "out_of_order"
    NO_ANSWER = "no_answer"
    STDOUT_BUFFERED = "stdout_buffered"
    CLOCK_OFF = "clock_off"
    DIALED_EARLY = "dialed_early"
    DIALED_LATE = "dialed_late"
    GAVE_UP_EARLY = "gave_up_early"
    # the process
    EXITED_EARLY = "exited_early"
    CLOSE_IGNORED = "close_ignored"
    OUTPUT_AFTER_CLOSED = "output_after_closed"
    STILL_RUNNING = "still_running"
    EXIT_CODE = "exit_code"
    OUTLIVED_STDIN = "outlived_stdin"
    # what it says and does
    NOT_BOUND = "not_bound"
    OBSERVED_WRONG = "observed_wrong"
    OFFER_EMPTY = "offer_empty"
    OFFER_WRONG = "offer_wrong"
    NOT_CONNECTED = "not_connected"
    CLAIM_WRONG = "claim_wrong"
    MODE_IGNORED = "mode_ignored"
    FAILURE_WRONG = "failure_wrong"
    ECHO_SHORT = "echo_short"
    ECHO_OVERSTATED = "echo_overstated"
    ECHO_NOT_RETURNED = "echo_not_returned"
    ECHO_ALTERED = "echo_altered"
    ECHO_NOT_RESENT = "echo_not_resent"
    NONCE_MISSING = "nonce_missing"
    FRAME_MALFORMED = "frame_malformed"
    FRAME_FOREIGN = "frame_foreign"
    FRAME_SMALL = "frame_small"
    FRAME_LARGE = "frame_large"
    STRANGER_HEEDED = "stranger_heeded"
    ACK_MISPLACED = "ack_misplaced"


class BrokenRule(FrozenValue):
    """One that was broken in ``scene``.  Which fields are filled depends on the rule."""

    rule: Rule
    scene: Scene
    event: str = ""  # the event, or command, that it is about
    field: str = ""  # of that event, or of a frame
    expected: str | int | float | None = None
    found: str | int | float | None = None


class Sign(StrEnum):
    """By what a peer shows that it does not keep to its mode."""

    SENT = "sent"  # something, to the other side
    UNASKED = "unasked"  # something, before anybody called it
    CONNECTED = "connected"  # it says so
    PORT = "port"  # it called from the port that it was to keep for punching


class Gap(StrEnum):
    """Why a scene, or a part of it, was not looked at."""

    UNSUPPORTED = "unsupported"  # the peer says that it cannot
    GATHERING = "gathering"  # it says that it did not learn its address on loopback
    CHECKS = "checks"  # ICE agents may leave out loopback addresses
    PARTNER = "partner"  # our own side failed, and the peer is not to blame
    BUSY = "busy"  # the machine gave the peer too little time to answer in


class Unchecked(FrozenValue):
    """A scene that says nothing.  ``words`` are the peer's own, or our library's."""

    scene: Scene
    gap: Gap
    words: str = ""


class SceneResult(FrozenValue):
    """What one conversation showed, and what the peer wrote to stderr, its ends at least."""

    scene: Scene
    broken: tuple[BrokenRule, ...]
    unchecked: tuple[Unchecked, ...]
    events: tuple[str, ...]
    stderr: str
    seconds: float


REQUIRED = (Scene.DIALER, Scene.LISTENER)  # without these nothing is known


class Checked(FrozenValue):
    """All conversations with one peer."""

    mechanism: str
    scenes: tuple[SceneResult, ...]

    @property
    def broken(self) -> tuple[BrokenRule, ...]:
        return tuple(one for scene in self.scenes for one in scene.broken)

    @property
    def unchecked(self) -> tuple[Unchecked, ...]:
        return tuple(gap for scene in self.scenes for gap in scene.unchecked)

    @property
    def determined(self) -> bool:
        """Whether what every peer needs was seen, or a broken rule says enough."""
        open_ends = {gap.scene for gap in self.unchecked}
        return bool(self.broken) or not open_ends.intersection(REQUIRED)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
