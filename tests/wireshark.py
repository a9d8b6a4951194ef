"""What Wireshark's programs say of a capture, as the reader that everybody else uses."""

import shutil

import pytest

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None,
    reason="tshark is not installed (apt-get install tshark): captures are NOT compared with it",
)
