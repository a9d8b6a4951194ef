"""Reads a capture file back, and has scapy dissect what is asked for.

Scapy takes some 25 microseconds to read a packet and 80 to dissect it, and a sixth of a second
to be imported.  So the blocks of the file are read by `testbed.capture.pcapng`, the headers that
every packet has by `testbed.model.packet`, and `dissect` gives the full tree of the few that
somebody looks into.  Scapy stays in here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import foreign
from testbed.capture.pcapng import Reading, Recording
from testbed.errors import CaptureError
from testbed.model.batch import collector_off
from testbed.model.packet import Packet, decode

if TYPE_CHECKING:
    from scapy.packet import Packet as ScapyPacket

_HOMES = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
# Where no folder can be made.  Not /dev/null: scapy would give that to the user behind sudo.
_NOWHERE = "/proc/none"
_DIRECTION, _OUTBOUND = 0b11, 2  # of epb_flags


def read(path: Path) -> list[Packet]:
    """All packets of a finished recording, in order of time.

    CaptureError, naming the file, when it is missing, cut short, damaged, or not
    a recording of ours.
    """
    with collector_off(), _reading(path) as reading:
        return list(_decoded(reading))


def _decoded(reading: Reading) -> Iterator[Packet]:
    """The packets of a file; the bytes that several sights share, once."""
    shared: dict[bytes, bytes] = {}
    names = reading.names
    for number, (interface, time_ns, flags, frame, length) in enumerate(reading.packets(), 1):
        outgoing = flags & _DIRECTION == _OUTBOUND
        yield decode(number, names[interface], time_ns, outgoing, frame, length, shared)


def inspect(path: Path) -> Recording:
    """How much a recording holds and lost, from the file alone; errors as `read`."""
    with _reading(path) as reading:
        for _ in reading.packets():
            pass
        return Recording(path, reading.counts)


def dissect(packet: Packet) -> "ScapyPacket":
    """The packet as scapy sees it, all layers."""
    with _homeless():
        from scapy.layers.inet import IP  # noqa: F401 - teaches Ether what it may carry
        from scapy.layers.l2 import Ether

    dissected: ScapyPacket = Ether(bytes(packet.frame))
    return dissected


@contextmanager
def _homeless() -> Iterator[None]:
    """While scapy is imported: it would make folders and caches in the user's home."""
    kept = {name: os.environ.get(name) for name in _HOMES}
    os.environ.update(dict.fromkeys(_HOMES, _NOWHERE))
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _reading(path: Path) -> Iterator[Reading]:
    try:
        with foreign.opened(path, foreign.RECORDED) as file:
            yield Reading(file)
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise CaptureError(
            f"{path} is not a whole recording: {error}",
            remedy="record it again; nothing can be read off a part",
        ) from None
