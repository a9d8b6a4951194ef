"""Reads a capture file back: scapy opens it, and dissects what is asked for.

Scapy's own dissection costs some 80 microseconds a packet, ours 4, so the headers
that every packet has are decoded by `testbed.model.packet`, and `dissect`
gives the full tree of the few that somebody looks into.  Scapy stays in here.
"""

import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import foreign
from testbed.capture.pcapng import Recording, survey
from testbed.errors import CaptureError
from testbed.model.packet import Packet, decode

if TYPE_CHECKING:
    from scapy.packet import Packet as ScapyPacket

_HOMES = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
# Where no folder can be made.  Not /dev/null: scapy would give that to the user behind sudo.
_NOWHERE = "/proc/none"
_OUTBOUND = 2  # epb_flags, the two lowest bits


def warm() -> None:
    """Load what `read` needs, before this process is forked for many recordings."""
    with _homeless():
        importlib.import_module("scapy.utils")


def read(path: Path) -> list[Packet]:
    """All packets of a finished recording, in order of time.

    CaptureError, naming the file, when it is missing, cut short, damaged, or not
    a recording of ours.
    """
    with _homeless():
        from scapy.utils import RawPcapNgReader  # 150 ms: only who reads a capture pays them

    data, _recording = _load(path)
    packets: list[Packet] = []
    names: dict[bytes, str] = {}
    open_file: Any = RawPcapNgReader  # its annotations know neither files nor its metadata
    with open_file(io.BytesIO(data)) as reader:
        for number, (frame, about) in enumerate(reader, 1):
            vantage = names.setdefault(about.ifname, about.ifname.decode())
            time_ns = (about.tshigh << 32) + about.tslow
            outgoing = about.direction == _OUTBOUND
            packets.append(decode(number, vantage, time_ns, outgoing, frame, about.wirelen))
    return packets


def inspect(path: Path) -> Recording:
    """How much a recording holds and lost, from the file alone; errors as `read`."""
    return _load(path)[1]


def dissect(packet: Packet) -> "ScapyPacket":
    """The packet as scapy sees it, all layers."""
    with _homeless():
        from scapy.layers.inet import IP  # noqa: F401 - teaches Ether what it may carry
        from scapy.layers.l2 import Ether

    dissected: ScapyPacket = Ether(packet.frame)
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


def _load(path: Path) -> tuple[bytes, Recording]:
    try:
        data = foreign.read_bytes(path, foreign.RECORDED)
        return data, Recording(path, survey(data))
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise CaptureError(
            f"{path} is not a whole recording: {error}",
            remedy="record it again; nothing can be read off a part",
        ) from None
