"""A small protobuf codec: dataclasses that declare their own wire format.

    @dataclass(frozen=True)
    class Peer(Message):
        id: bytes | None = blob(1)
        addrs: tuple[bytes, ...] = blobs(2)

Fields are written in field-number order and None is left out, which is the
canonical form that signatures need.  Unknown fields are skipped.  Nesting is as
deep as the declared types and no deeper, and a repeated field holds at most
`MAX_REPEATED` values, so a message's memory is bounded by its frame.
"""

import dataclasses
import struct
from typing import Any, ClassVar, Self

from .errors import ProtocolError

MAX_REPEATED = 1024
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {"uint": _VARINT, "fixed64": _FIXED64, "blob": _LENGTH, "text": _LENGTH}
_SPEC = "protobuf"


def _field(number: int, kind: str, repeated: bool, child: "type[Message] | None" = None) -> Any:
    spec = (number, kind, repeated, child)
    default: Any = () if repeated else None
    return dataclasses.field(default=default, metadata={_SPEC: spec})


def uint(number: int) -> Any:
    """An optional uint64, uint32, bool or enum."""
    return _field(number, "uint", False)


def fixed64(number: int) -> Any:
    """An optional fixed64."""
    return _field(number, "fixed64", False)


def blob(number: int) -> Any:
    """Optional bytes."""
    return _field(number, "blob", False)


def blobs(number: int) -> Any:
    """Repeated bytes."""
    return _field(number, "blob", True)


def text(number: int) -> Any:
    """An optional UTF-8 string."""
    return _field(number, "text", False)


def texts(number: int) -> Any:
    """Repeated UTF-8 strings."""
    return _field(number, "text", True)


def message(number: int, child: "type[Message]") -> Any:
    """An optional nested message."""
    return _field(number, "message", False, child)


def messages(number: int, child: "type[Message]") -> Any:
    """Repeated nested messages."""
    return _field(number, "message", True, child)


class Message:
    """Base of the declared messages; subclasses are frozen dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def encode(self) -> bytes:
        """The canonical wire form."""
        out = bytearray()
        for name, (number, kind, repeated, _) in sorted(_specs(type(self)), key=lambda s: s[1][0]):
            value = getattr(self, name)
            if value is None:
                continue
            for item in value if repeated else (value,):
                out += _encode_field(number, kind, item)
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse the wire form.  Raises ProtocolError; never reads past `data`."""
        specs = {spec[0]: (name, spec) for name, spec in _specs(cls)}
        values: dict[str, Any] = {}
        offset = 0
        while offset < len(data):
            tag, offset = _uvarint(data, offset)
            raw, offset = _raw_value(data, offset, tag & 7)
            if tag >> 3 not in specs:
                if tag >> 3 == 0:
                    raise ProtocolError(_SPEC, "field number 0")
                continue
            name, (_, kind, repeated, child) = specs[tag >> 3]
            value = _decode_value(kind, tag & 7, raw, child)
            if not repeated:
                values[name] = value
                continue
            items = values.setdefault(name, [])
            if len(items) >= MAX_REPEATED:
                raise ProtocolError(_SPEC, f"more than {MAX_REPEATED} values of {name}")
            items.append(value)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _specs(cls: type[Message]) -> list[tuple[str, Any]]:
    return [(n, f.metadata[_SPEC]) for n, f in cls.__dataclass_fields__.items()]


def _write_uvarint(value: int) -> bytes:
    # Wider than the multiformats varint: protobuf allows the full 64 bits.
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode_field(number: int, kind: str, item: Any) -> bytes:
    if kind == "message" or kind == "text":
        kind, item = "blob", item.encode()
    tag = _write_uvarint(number << 3 | _WIRE_TYPES[kind])
    if kind == "uint":
        return tag + _write_uvarint(int(item))
    if kind == "fixed64":
        return tag + struct.pack("<Q", item)
    return tag + _write_uvarint(len(item)) + bytes(item)


def _uvarint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if offset >= len(data):
            raise ProtocolError(_SPEC, "truncated varint")
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, offset
    raise ProtocolError(_SPEC, "varint longer than ten bytes")


def _raw_value(data: bytes, offset: int, wire: int) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return _uvarint(data, offset)
    if wire == _LENGTH:
        length, offset = _uvarint(data, offset)
    elif wire in (_FIXED64, _FIXED32):
        length = 8 if wire == _FIXED64 else 4
    else:
        raise ProtocolError(_SPEC, f"wire type {wire}")
    if length > len(data) - offset:
        raise ProtocolError(_SPEC, "truncated value")
    return data[offset : offset + length], offset + length


def _decode_value(kind: str, wire: int, raw: int | bytes, child: type[Message] | None) -> Any:
    if wire != _WIRE_TYPES.get(kind, _LENGTH):
        raise ProtocolError(_SPEC, f"wire type {wire} for a {kind}")
    if isinstance(raw, int):
        return raw
    if kind == "fixed64":
        return struct.unpack("<Q", raw)[0]
    if child is not None:
        return child.decode(raw)
    if kind == "text":
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(_SPEC, "string is not UTF-8") from error
    return bytes(raw)
