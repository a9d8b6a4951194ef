"""The contract of testbed/stacks/contract.schema.json, version 2, as far as this peer needs it."""

import json
import os
import re
import time
from typing import Any

LINE_LIMIT = 65536  # bytes, newline included
ECHO_LIMIT = 1 << 24  # bytes
VERSION = 2
WORDS = 1000  # of a reason, at most
NONCE = re.compile("([0-9a-f]{32})?")
NONCE_BYTES = 16  # that an echo begins with

Fields = dict[str, Any]

COMMANDS = {
    "configure": {
        *("version", "role", "transport", "local_address", "port", "stun", "turn"),
        *("relays", "observers", "session", "seed", "options"),
    },
    "dial": {"remote", "start_at"},
    "echo": {"bytes"},
    "close": set[str](),
}
OPTIONAL = {"configure": {"announce", "extra_time"}, "echo": {"nonce"}}


class ContractError(Exception):
    """The harness broke the contract: there is no going on."""


class Failure(Exception):
    """A result, and no error of this program: there is no connection, and why."""

    def __init__(self, failure: str, reason: object) -> None:
        super().__init__(f"{failure}: {reason}")
        self.failure = failure
        self.reason = (str(reason) or type(reason).__name__)[:WORDS]


def parse(line: bytes) -> Fields:
    """A command; ContractError if it is none."""
    try:
        command = json.loads(line)
        fields = COMMANDS[command["command"]]
    except (ValueError, KeyError, TypeError):
        raise ContractError(f"not a command: {line[:200]!r}") from None
    optional = OPTIONAL.get(command["command"], set[str]())
    if command.keys() - {"command"} - optional != fields:
        raise ContractError(f"{command['command']!r} has other members than {sorted(fields)}")
    if command["command"] == "configure" and command["version"] != VERSION:
        raise ContractError(f"this peer speaks version {VERSION}, not {command['version']!r}")
    if command["command"] == "echo" and not _countable(command["bytes"]):
        raise ContractError(f"an echo of {command['bytes']!r} bytes")
    if not NONCE.fullmatch(str(command.get("nonce", ""))):
        raise ContractError(f"an echo with the nonce {command['nonce']!r}")
    return command


def longer(configure: Fields, usual: float) -> float:
    """A deadline in seconds, with what a world of long ways adds to it."""
    return usual + float(configure.get("extra_time", 0.0))


def _countable(count: object) -> bool:
    return isinstance(count, int) and 1 <= count <= ECHO_LIMIT


def emit(event: str, **more: Any) -> None:
    """Tell of an event that happens now, or at the ``at`` of ``more``."""
    line = {"event": event, "at": now(), **more}
    os.write(1, json.dumps(line).encode() + b"\n")


def now() -> int:
    """Nanoseconds of the clock that all peers share."""
    return time.monotonic_ns()


def endpoint(address: str, port: int) -> Fields:
    return {"address": address, "port": port}
