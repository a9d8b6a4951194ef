"""The lines of the contract: messages to and from JSON, and what is wrong with one that is none.

``contract.schema.json`` is the contract, written out:
``python -m testbed.model.contract_lines > testbed/stacks/contract.schema.json``.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from testbed.errors import ContractError
from testbed.model.contract import LINE_LIMIT, VERSION, Command, Event

_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def encode(message: Command | Event) -> bytes:
    """One line, with its newline."""
    return message.model_dump_json().encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """What the harness said; PeerError if that breaks the contract."""
    return _decode(_COMMAND, line, "command")


def decode_event(line: bytes) -> Event:
    """What a peer said; PeerError if that breaks the contract."""
    return _decode(_EVENT, line, "event")


class Fault(StrEnum):
    """What is wrong with a line."""

    TOO_LONG = "too_long"
    NOT_JSON = "not_json"  # or no object
    UNKNOWN_MESSAGE = "unknown_message"  # no such event or command, or the word is missing
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_VALUE = "wrong_value"


class MalformedError(ContractError):
    """A line that is no message: its first ``fault``, in which ``field`` of which ``message``.

    Of a wrong value: ``found`` is its JSON, and ``due`` what should stand there.
    """

    def __init__(
        self,
        words: str,
        fault: Fault,
        message: str = "",
        field: str = "",
        *,
        found: str = "",
        due: str = "",
    ) -> None:
        super().__init__(words)
        self.fault = fault
        self.named = message
        self.field = field
        self.found = found
        self.due = due


_T = TypeVar("_T")


_FAULTS = {  # pydantic's types of errors
    "json_invalid": Fault.NOT_JSON,
    "union_tag_invalid": Fault.UNKNOWN_MESSAGE,
    "union_tag_not_found": Fault.UNKNOWN_MESSAGE,
    "missing": Fault.MISSING_FIELD,
    "extra_forbidden": Fault.UNKNOWN_FIELD,
}


_DUE = {  # by pydantic's types of errors; the braces are its own facts
    **{"tuple_type": "a list", "string_type": "a text", "int_type": "an integer"},
    **{"bool_type": "true or false", "ip_v4_address": "an IPv4 address", "model_type": "an object"},
    **{"int_from_float": "an integer", "enum": "{expected}", "literal_error": "{expected}"},
    **{"greater_than_equal": "{ge} or more", "less_than_equal": "{le} or less"},
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "value_error": "an IPv4 address",  # there is no other type that is not of pydantic's own
}


_SHOWN = 80  # characters of a wrong value


def _decode(adapter: TypeAdapter[_T], line: bytes, what: str) -> _T:
    if len(line) > LINE_LIMIT:
        words = f"a line of {len(line)} bytes; {LINE_LIMIT} are allowed"
        raise MalformedError(words, Fault.TOO_LONG)
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [str(part) for part in first["loc"]]
        fault = _FAULTS.get(first["type"], Fault.WRONG_VALUE if where else Fault.NOT_JSON)
        message, field = (where[0] if where else ""), ".".join(where[1:])
        found = due = ""
        trouble = f"{'.'.join(where) or 'line'}: {first['msg']}"
        if fault is Fault.WRONG_VALUE:
            found, due = _short(first["input"]), _due(first)
            trouble = f"{field} of {message} is {found}, {due} is due"
        words = f"not a valid {what}: {trouble}: {line[:200]!r}"
        raise MalformedError(words, fault, message, field, found=found, due=due) from None


def _due(error: Mapping[str, Any]) -> str:
    template = _DUE.get(error["type"])
    return template.format(**error.get("ctx", {})) if template else str(error["msg"])


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def schema() -> dict[str, Any]:
    """The contract as JSON Schema: ``$defs``, and the roots ``command`` and ``event``."""
    roots, shared = TypeAdapter.json_schemas(
        [("command", "serialization", _COMMAND), ("event", "serialization", _EVENT)],
        title="testbed peer contract",
        description=f"Version {VERSION}. JSON Lines: commands to a peer, events from it.",
    )
    named = {key: value for (key, _), value in roots.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **shared, **named}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, sort_keys=True))
