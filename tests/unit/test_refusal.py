"""A peer of ours tells by a value, and not by words alone, that a relay refused."""

import pytest

from testbed.model.contract import Failed, FailureClass, FailureDetail
from testbed.model.contract_lines import decode_event, encode
from testbed.stacks.session import PeerFailure
from testbed.stacks.traversal import refusal
from testbed.traversal.errors import DialError, DialFailure, RelayRefusedError
from testbed.traversal.relay import Status


def refused(status: Status) -> RelayRefusedError:
    return RelayRefusedError(status, status.name)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_each_status_but_ok_is_a_refusal_however_deep_it_is(status: Status) -> None:
    lacking = status is Status.NO_RESERVATION
    due = FailureDetail.NO_RESERVATION if lacking else FailureDetail.RELAY_REFUSED
    assert refusal(refused(status)) is due
    dialed = DialError("an address", DialFailure.RELAY_REFUSED, "some words")
    dialed.__cause__ = refused(status)
    assert refusal(dialed) is due


def test_another_error_is_none_whatever_it_says() -> None:
    assert refusal(None) is None
    assert refusal(TimeoutError("relay answered NO_RESERVATION (204)")) is None
    assert PeerFailure(FailureClass.LOST, "relay_refused").detail is None


def test_the_detail_may_be_left_out_and_is_read_back() -> None:
    bare = b'{"at":1,"event":"failed","failure":"lost","reason":"gone"}'
    event = decode_event(bare)
    assert isinstance(event, Failed)
    assert event.detail is None
    told = event.model_copy(update={"detail": FailureDetail.RELAY_REFUSED})
    assert decode_event(encode(told)) == told
