"""AutoNAT behind every profile: a stranger's dial, both verdicts, and their prediction.

The whole catalogue is measured once, several labs at a time.
"""

from pathlib import Path

import pytest
from shared import once

from testbed.cli.commands.explain import read_case
from testbed.lab.namespaces import Namespaces
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.details import AutonatDetails, TransportSeen
from testbed.model.explanation import Cause
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue, find
from testbed.plan.planner import plan
from testbed.predict.autonat import NodeVerdict, Reachability, predict
from testbed.report.autonat import table
from testbed.run.engine import run_study
from testbed.studies.autonat import reachability
from testbed.studies.autonat.study import STUDY, AutonatCase
from testbed.traversal import Node, autonat_v1, autonat_v2
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream

JOBS = 16
CATALOGUE = catalogue()
OBSERVERS = [f"observer-{n}" for n in range(1, 5)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    def run() -> list[Result]:
        cases = [AutonatCase(nat) for nat in CATALOGUE.values()]
        out = tmp_path_factory.mktemp("autonat")
        return run_study(STUDY, cases, Namespaces(), out, jobs=JOBS, progress=lambda *_: None)

    return {result.profiles[0]: result for result in once(tmp_path_factory, "reachability", run)}


def seen(result: Result) -> tuple[TransportSeen, ...]:
    assert isinstance(result.details, AutonatDetails)
    return result.details.transports


@pytest.mark.parametrize("profile", CATALOGUE)
def test_verdicts_and_truth_are_as_predicted(profile: str, measured: dict[str, Result]) -> None:
    found = measured[profile]
    assert found.judgement is Judgement.PASS, found.to_json()
    assert {one.transport for one in seen(found)} == {"udp", "tcp"}


@pytest.mark.parametrize("profile", CATALOGUE)
def test_the_packets_that_explain_a_case_say_what_the_strangers_dial_says(
    profile: str, measured: dict[str, Result]
) -> None:
    found = measured[profile]
    assert found.explanation is not None
    assert found.notes == ()
    inside = any(one.measured is not None and one.measured.stranger for one in seen(found))
    expected = Cause.FILTER_ADMITS if inside else Cause.FILTER_CLOSED
    assert found.explanation.cause is expected, found.explanation
    assert found.explanation.node == (None if inside else "nat-a")
    explanation, _ = read_case(Path(found.folder))  # as `testbed explain` reads it again
    assert (explanation.cause, explanation.node) == (expected, found.explanation.node)


def test_every_verdict_that_is_not_the_truth_is_named(measured: dict[str, Result]) -> None:
    wrong = set()
    for name, result in measured.items():
        for one in seen(result):
            assert one.measured is not None
            truth = NodeVerdict.PUBLIC if one.measured.stranger else NodeVerdict.PRIVATE
            if one.measured.v1 != truth:
                wrong.add((name, one.transport))
                assert any("(v1" in note for note in one.notes), one
    assert {("restricted-cone", "tcp"), ("restricted-cone", "udp")} <= wrong


def test_the_table_has_a_line_for_each_transport_of_each_profile(
    measured: dict[str, Result],
) -> None:
    shown = table(list(measured.values()))
    assert shown.row_count == 2 * len(CATALOGUE)
    assert "the server's own address had opened the filter" in str(shown.caption)


# Other worlds

NESTED = """
title = "A laptop behind its own router in a house, and observers of which none is called so"
source = "none: written for this test"

[networks]
house = "private"
mine = "private"

[routers.box]
wan = "internet"
lan = "house"
profile = "restricted-cone"
option = "a"

[routers.mine]
wan = "house"
lan = "mine"
profile = "full-cone"

[hosts.laptop]
network = "mine"
port = 5001

[hosts]
one = { network = "internet" }
two = { network = "internet" }
three = { network = "internet" }
four = { network = "internet" }
elsewhere = { network = "internet" }

[roles]
a = "laptop"
observers = ["one", "two", "three", "four"]
relay = "elsewhere"
"""
# Nobody is left behind its routers, which keeps no lab waiting.
PUBLIC = NESTED.replace('network = "mine"', 'network = "internet"')


def test_a_world_of_the_users_says_who_asks_whom_and_where_they_listen(tmp_path: Path) -> None:
    nested, public = tmp_path / "nested.toml", tmp_path / "public.toml"
    nested.write_text(NESTED)
    public.write_text(PUBLIC)
    cases = [
        AutonatCase(None, topology=str(nested)),
        AutonatCase(find("full-cone"), topology=str(nested)),
        AutonatCase(None, topology=str(public)),
        AutonatCase(find("port-restricted"), topology="libp2p"),
    ]
    out = tmp_path / "out"
    found = run_study(STUDY, cases, Namespaces(), out, jobs=4, progress=lambda *_: None)
    for one in found:
        assert one.judgement is Judgement.PASS, one.to_json()
    assert [one.profiles for one in found] == [
        ("full-cone", "restricted-cone"), ("full-cone", "full-cone"), ("public",),
        ("port-restricted",),
    ]  # fmt: skip
    told = [
        {(t.measured.v1, t.measured.stranger) for t in seen(one) if t.measured} for one in found
    ]
    assert told == [
        {("public", False)}, {("public", True)}, {("public", True)}, {("private", False)},
    ]  # fmt: skip


# Negative controls


def at_home(claim: Behaviour, protocol: Protocol) -> Reachability:
    """What is predicted behind a NAT of this behaviour."""
    return predict(reachability.bench("any"), {"nat-a": claim}, protocol).outcome


def _judged(lab: Lab, claimed: str, **changes: object) -> dict[Protocol, bool]:
    """Whether measured and predicted agree, if the NAT were the ``claimed`` one."""
    claim = find(claimed).behaviour
    found = reachability.measure(lab, **changes)  # type: ignore[arg-type]
    return {one.protocol: one.outcome == at_home(claim, one.protocol) for one in found}


def test_a_nat_that_is_not_what_it_claims_to_be_differs_from_its_prediction() -> None:
    with Namespaces().start(plan(reachability.bench("full-cone"), CATALOGUE)) as lab:
        judged = _judged(lab, "port-restricted")
    assert judged == {Protocol.UDP: False, Protocol.TCP: False}


async def _always_ok(stream: Stream, _connection: Connection) -> None:
    """A v1 server that dials nobody and says that it has."""
    await stream.read_frame(autonat_v1.MAX_MESSAGE)
    await stream.write_frame(autonat_v1.encode_answer(autonat_v1.Answer(autonat_v1.Status.OK)))


async def _always_ok_v2(stream: Stream, _connection: Connection) -> None:
    """The same for v2, where it lacks the nonce."""
    await stream.read_frame(autonat_v2.MAX_MESSAGE)
    response = autonat_v2.DialResponse(autonat_v2.ResponseStatus.OK, 0, autonat_v2.DialStatus.OK)
    await stream.write_frame(autonat_v2.Message(response=response).encode())


def _lie(node: Node) -> None:
    node.set_handler(autonat_v1.PROTOCOL, _always_ok)
    node.set_handler(autonat_v2.REQUEST_PROTOCOL, _always_ok_v2)


def test_servers_that_lie_are_found_out_by_the_strangers_dial() -> None:
    with Namespaces().start(plan(reachability.bench("port-restricted"), CATALOGUE)) as lab:
        found = reachability.measure(lab, dict.fromkeys(OBSERVERS, _lie))
    claim = find("port-restricted").behaviour
    for one in found:
        assert one.outcome != at_home(claim, one.protocol)
        assert (one.v1, one.outcome.reachable) == (NodeVerdict.PUBLIC, False)
        assert {seen.v2.value for seen in one.addresses} == {"unknown"}  # no nonce, no vote


@pytest.mark.parametrize("protocol", Protocol)
def test_the_strangers_dial_gets_in_nowhere_when_nobody_is_there(protocol: Protocol) -> None:
    with Namespaces().start(plan(reachability.bench("full-cone"), CATALOGUE)) as lab:
        target = Endpoint(lab.plan.address("nat-a"), lab.plan.port("a"))
        assert reachability.stranger_dials(lab, protocol, [target]) == set()
