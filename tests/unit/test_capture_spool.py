"""What a run records has a limit, past which it says so."""

import errno
from pathlib import Path

import pytest

from testbed.capture import drain
from testbed.capture.drain import Spool


def test_a_flood_of_packets_ends_the_recording_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "LARGEST", 1 << 20)
    spool = Spool(tmp_path, 1)
    block = memoryview(bytes(1 << 19))
    spool.add(0, block, 1)
    spool.add(0, block, 1)
    with pytest.raises(OSError, match="more than 1 MB of packets: somebody floods") as raised:
        spool.add(0, memoryview(b"x"), 1)
    assert raised.value.errno == errno.EFBIG
    spool._file.close()
