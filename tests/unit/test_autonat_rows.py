"""What a row of `testbed autonat` says when measured and predicted agree, differ, or neither."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from testbed.cli.commands.autonat import TOO_LATE, Row, table
from testbed.errors import Exit, UsageError
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.packet import Endpoint
from testbed.predict.autonat import AddressVerdict, NodeVerdict, predict
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.reachability import Measured, Seen

SEEN = Seen(Endpoint(IPv4Address("29.0.0.2"), 4001), False, AddressVerdict.UNREACHABLE)
RIGHT = Measured(Protocol.UDP, 0.0, NodeVerdict.PRIVATE, (SEEN,))
WRONG = replace(RIGHT, v1=NodeVerdict.PUBLIC)


def row(measured: Measured | None, error: str = "") -> Row:
    predicted = predict(Behaviour(), Protocol.UDP)
    return Row("port-restricted", Protocol.UDP, predicted, measured, error)


def test_agreement_is_agreement_however_busy_the_machine() -> None:
    assert row(RIGHT).exit_code is Exit.AGREED
    assert row(replace(RIGHT, late=9.0)).exit_code is Exit.AGREED


def test_a_difference_on_a_punctual_machine_is_one() -> None:
    assert row(WRONG).exit_code is Exit.DIFFERS


def test_a_difference_on_a_busy_machine_is_inconclusive_and_says_so() -> None:
    late = row(replace(WRONG, late=2 * TOO_LATE))
    assert late.exit_code is Exit.INCONCLUSIVE
    assert late.notes == ("a node was 1.0 s late: this machine is too busy",)


def test_what_could_not_be_measured_is_inconclusive_with_its_reason() -> None:
    nothing = row(None, "peer [a]: it ended before its time")
    assert nothing.exit_code is Exit.INCONCLUSIVE
    assert nothing.to_json()["measured"] is None
    assert table([nothing]).caption == "1 peer [a]: it ended before its time"


def test_the_table_shows_both_sides_of_a_difference() -> None:
    shown = table([row(WRONG)])
    assert list(shown.columns[3].cells) == ["public, predicted private"]


def test_a_table_of_stacks_says_who_asks_whom_and_groups_by_profile() -> None:
    go, ours = Asking("go", "traversal"), Asking("traversal", "go")
    both = [replace(row(RIGHT), asking=one) for one in (go, ours)]
    other = [replace(one, profile="full-cone") for one in both]
    shown = table([both[0], other[0], both[1], other[1]])
    assert list(shown.columns[0].cells) == ["port-restricted"] * 2 + ["full-cone"] * 2
    assert list(shown.columns[2].cells) == ["go", "traversal"] * 2
    assert list(shown.columns[3].cells) == ["traversal", "go"] * 2
    assert both[0].to_json()["client"] == "go"


def test_stacks_ask_each_other_by_what_both_speak() -> None:
    assert Asking("go", "traversal").protocols == tuple(Protocol)
    with pytest.raises(UsageError, match="unknown AutoNAT server 'pigeon'"):
        Asking("go", "pigeon").prepare()


def test_a_role_that_a_stack_lacks_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(UsageError, match=r"js is no AutoNAT client over QUIC\n.*traversal, go, "):
        Asking("js", "traversal").prepare()
    with pytest.raises(UsageError, match="ladder is no AutoNAT server"):
        Asking("traversal", "ladder").prepare()
