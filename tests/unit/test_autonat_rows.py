"""What the result of an AutoNAT case says when measured and predicted agree, differ, or neither."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.errors import PeerError, TestbedError, UsageError
from testbed.lab.namespaces import Namespaces
from testbed.model.behaviour import Protocol
from testbed.model.details import AutonatDetails
from testbed.model.packet import Endpoint
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.nat.load import find
from testbed.predict.autonat import AddressVerdict, NodeVerdict
from testbed.report.autonat import table
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.reachability import Measured, Seen
from testbed.studies.autonat.study import TOO_LATE, AutonatCase, judged
from testbed.studies.base import Site

SITE = Site(Namespaces(), 0, Path("out/cells/x"))
SEEN = Seen(Endpoint(IPv4Address("29.0.0.2"), 4001), False, AddressVerdict.UNREACHABLE)
UDP = Measured(Protocol.UDP, 0.0, NodeVerdict.PRIVATE, (SEEN,))
RIGHT = (UDP, replace(UDP, protocol=Protocol.TCP))
WRONG = (replace(UDP, v1=NodeVerdict.PUBLIC), RIGHT[1])


def made(
    measured: tuple[Measured, ...],
    error: TestbedError | None = None,
    case: AutonatCase | None = None,
) -> Result:
    case = case or AutonatCase(find("port-restricted"))
    return judged(case, measured, SITE, error)


def late(measured: tuple[Measured, ...], seconds: float) -> tuple[Measured, ...]:
    return tuple(replace(one, late=seconds) for one in measured)


def test_agreement_is_agreement_however_busy_the_machine() -> None:
    assert made(RIGHT).judgement is Judgement.PASS
    busy = made(late(RIGHT, 9.0))
    assert (busy.judgement, busy.late) == (Judgement.PASS, False)


def test_a_difference_of_one_transport_on_a_punctual_machine_is_one() -> None:
    found = made(WRONG)
    assert (found.judgement, found.late) == (Judgement.FAIL, False)
    assert found.measured != found.predicted


def test_a_difference_on_a_busy_machine_is_inconclusive_and_is_tried_again() -> None:
    found = made(late(WRONG, 2 * TOO_LATE))
    assert (found.judgement, found.late) == (Judgement.INCONCLUSIVE, True)
    assert "a node was 1.0 s late: this machine is too busy" in found.reason


def test_what_could_not_be_measured_is_inconclusive_with_its_reason() -> None:
    nothing = made((), PeerError("it ended before its time", node="a"))
    assert (nothing.judgement, nothing.measured) == (Judgement.INCONCLUSIVE, None)
    assert table([nothing]).caption == "1 peer [a]: it ended before its time"


def test_a_case_whose_worker_died_has_a_line_in_the_table() -> None:
    dead = made((), PeerError("its worker died")).model_copy(update={"details": AutonatDetails()})
    assert table([dead]).row_count == 1


def test_the_table_shows_both_sides_of_a_difference() -> None:
    assert next(iter(table([made(WRONG)]).columns[3].cells)) == "public, predicted private"


def test_a_table_of_stacks_says_who_asks_whom_and_groups_by_profile() -> None:
    go, ours = Asking("go", "traversal"), Asking("traversal", "go")
    results = [
        made(RIGHT, case=AutonatCase(find(profile), one))
        for one in (go, ours)
        for profile in ("port-restricted", "full-cone")
    ]
    shown = table(results)
    assert list(shown.columns[0].cells) == ["port-restricted"] * 4 + ["full-cone"] * 4
    assert list(shown.columns[2].cells) == ["go", "traversal"] * 4
    assert list(shown.columns[3].cells) == ["traversal", "go"] * 4
    assert results[0].labels["client"] == "go"


def test_a_result_is_read_back_from_json_as_it_was() -> None:
    found = made(WRONG)
    assert Result.model_validate_json(found.model_dump_json()) == found


def test_stacks_ask_each_other_by_what_both_speak() -> None:
    assert Asking("go", "traversal").protocols == tuple(Protocol)
    with pytest.raises(UsageError, match="unknown AutoNAT server 'pigeon'"):
        Asking("go", "pigeon").prepare()


def test_a_role_that_a_stack_lacks_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(UsageError, match=r"js is no AutoNAT client over QUIC\n.*traversal, go, "):
        Asking("js", "traversal").prepare()
    with pytest.raises(UsageError, match="ladder is no AutoNAT server"):
        Asking("traversal", "ladder").prepare()


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        ("carrier", "no host for AutoNAT's observers"),
        ("many-observers", None),
        ("libp2p", None),
    ],
)
def test_a_world_in_which_nobody_can_be_asked_is_refused(world: str, reason: str | None) -> None:
    case = AutonatCase(None, topology=world)
    if reason is None:
        case.require_possible()
        return
    with pytest.raises(UsageError, match=reason):
        case.require_possible()
