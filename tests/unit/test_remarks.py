"""What is kept of a program's stderr."""

from hypothesis import given
from hypothesis import strategies as st

from testbed.stacks.remarks import KEPT, Remarks


def told(*pieces: bytes) -> str:
    remarks = Remarks()
    for piece in pieces:
        remarks.take(piece)
    return str(remarks)


@given(st.lists(st.text(alphabet="ab\n", max_size=KEPT).map(str.encode), max_size=8))
def test_both_ends_are_kept_however_they_come(pieces: list[bytes]) -> None:
    whole = b"".join(pieces).decode()
    said = told(*pieces)
    if len(whole) <= 2 * KEPT:
        assert said == whole.strip()
    else:
        assert said.startswith(whole[:KEPT].lstrip())
        assert said.endswith(whole[-KEPT:].rstrip())
        assert f"[{len(whole) - 2 * KEPT} bytes are left out here]" in said


def test_a_reason_that_comes_before_a_long_trace_is_seen() -> None:
    said = told(b"panic: index out of range\n", b"goroutine 7 [running]\n" * 1000, b"exit 2\n")
    assert said.startswith("panic: index out of range")
    assert said.endswith("exit 2")
