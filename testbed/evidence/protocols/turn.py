"""STUN and TURN messages in words, and TURN's ChannelData (RFC 8656 section 12)."""

from testbed.evidence.protocols import punch, stun
from testbed.evidence.protocols.frames import Frame
from testbed.model.journey import Label, Weight

CHANNEL_HEADER = 4
_USUAL = frozenset({"ChannelBind", "CreatePermission"})
_UNAUTHORIZED = 401  # the question for credentials, RFC 8489 section 9.2
_FIRST_CHANNEL, _LAST_CHANNEL = 0x40, 0x4F  # first byte of a channel number, section 12


def read(data: bytes) -> Label | None:
    """A datagram that is one STUN message or one ChannelData message, and nothing more.

    RFC 8656 section 12.5: over UDP, ChannelData may be padded to 4 bytes or not.
    """
    message = stun.message(data)
    if message is not None:
        return _label(message) if message.length >= len(data) else None
    length = _channel_length(data)
    if length is None or not length <= len(data) <= length + -length % 4:
        return None
    return _channel(data)


def frame(data: bytes) -> Frame | None:
    """The message at the head of a stream's bytes.

    RFC 8656 section 12.5: over TCP, ChannelData MUST be padded to 4 bytes.
    """
    message = stun.message(data)
    if message is not None:
        return Frame(_label(message), message.length)
    length = _channel_length(data)
    if length is None:
        return None
    return Frame(_channel(data), length + -length % 4)


def _channel_length(data: bytes) -> int | None:
    """Header and data, without padding; None if it is not ChannelData."""
    if len(data) < CHANNEL_HEADER or not _FIRST_CHANNEL <= data[0] <= _LAST_CHANNEL:
        return None
    return CHANNEL_HEADER + int.from_bytes(data[2:4], "big")


def is_channel_data(label: Label) -> bool:
    """It has a channel's number, and is no STUN message."""
    return label.field("CHANNEL-NUMBER") is not None and label.field("method") is None


def _channel(data: bytes) -> Label:
    number, size = f"0x{data[:2].hex()}", int.from_bytes(data[2:4], "big")
    carried = _carried(data[CHANNEL_HEADER : CHANNEL_HEADER + size], size)
    fields = (("CHANNEL-NUMBER", number), ("length", str(size)))
    return Label("turn", f"ChannelData {number}: {carried.text}", fields + _within(carried))


def _label(message: stun.Message) -> Label:
    protocol = "stun" if message.method == "Binding" else "turn"
    fields = _fields(message)
    text = f"{message.method} {message.kind}{_particulars(message)}"
    if message.data is not None:
        carried = _carried(message.data, len(message.data))
        text, fields = f"{text}: {carried.text}", fields + _within(carried)
    text = text if message.complete else f"{text} (cut short)"
    return Label(protocol, text, fields, error=message.error, weight=_weight(message))


def _weight(message: stun.Message) -> Weight:
    if message.method == "Refresh":
        return Weight.NOTHING
    usual = message.method in _USUAL or message.error == _UNAUTHORIZED
    return Weight.USUAL if usual else Weight.TELLING


def _fields(message: stun.Message) -> tuple[tuple[str, str], ...]:
    return (
        ("method", message.method),
        ("class", message.kind),
        ("transaction", message.transaction.hex()),
        *message.fields,
    )


def _particulars(message: stun.Message) -> str:
    """What of the attributes a reader wants to see first."""
    field = message.field
    match message.method, message.kind:
        case _, "error":
            return f": {field('ERROR-CODE') or 'without a code'}"
        case "Binding", "request":
            return _binding_request(message)
        case "Binding", "success":
            mapped = field("XOR-MAPPED-ADDRESS") or field("MAPPED-ADDRESS")
            return f": {mapped or 'without an address'}"
        case "Allocate", "success":
            return f": relayed at {field('XOR-RELAYED-ADDRESS') or 'nowhere'}"
        case "Refresh", _:
            lifetime = field("LIFETIME")
            return f", {lifetime}" if lifetime else ""
        case "CreatePermission", "request":
            return f" for {field('XOR-PEER-ADDRESS') or 'nobody'}"
        case "ChannelBind", "request":
            number, peer = field("CHANNEL-NUMBER"), field("XOR-PEER-ADDRESS")
            return f" of {number} to {peer}"
        case (("Send" | "Data"), "indication"):
            way = "to" if message.method == "Send" else "from"
            return f" {way} {field('XOR-PEER-ADDRESS') or 'nobody'}"
    return ""


def _binding_request(message: stun.Message) -> str:
    """RFC 8445 section 7.1.2 (nomination); RFC 5780 section 7.2 (another source)."""
    nominates = ", USE-CANDIDATE" if message.field("USE-CANDIDATE") else ""
    change = message.field("CHANGE-REQUEST")
    return nominates + (f", CHANGE-REQUEST {change}" if change else "")


def _carried(data: bytes, size: int) -> Label:
    """What a relayed datagram says: another STUN message, our own, or nothing known."""
    message = stun.message(data)
    if message is not None:
        text = f"{message.method} {message.kind}{_particulars(message)}"
        return Label("stun", text, _fields(message), error=message.error)
    return punch.read(data) or Label("udp", f"{size} bytes")


def _within(carried: Label) -> tuple[tuple[str, str], ...]:
    """The fields of what is carried, told from the carrier's."""
    return tuple((f"carried {name}", value) for name, value in carried.fields)
