"""Facts are values: each has a sentence, a JSON form that is read back, and no other use."""

from dataclasses import MISSING, fields
from ipaddress import IPv4Address, IPv4Network
from typing import Any, get_args, get_type_hints

import pytest
from made_results import result

from testbed.model import breach, fault
from testbed.model.address import Endpoint, Route, Sight
from testbed.model.breach import Breach, BreachKind, Claim, FirstNoise
from testbed.model.contract import FailureClass, How
from testbed.model.fault import Difference, Fault, FaultKind, Tardy
from testbed.model.life import Fate
from testbed.model.outcome import Outcome, Rung, StepName
from testbed.model.rent import Carriage, Proven
from testbed.model.result import Result
from testbed.model.saved import faults_from_json, faults_to_json
from testbed.model.saying import (
    Deserter,
    EndedBadly,
    EndedWell,
    SaidConnected,
    SaidFailed,
    SaidNothing,
)
from testbed.words import sentence

END = Endpoint(IPv4Address("29.0.0.2"), 4001)
SIGHT = Sight(7, "nat-a:wan", False, "udp", END, END, 3)
SAYINGS = (
    SaidConnected(END, END, How.PUNCHED),
    SaidConnected(END, END),
    SaidFailed(FailureClass.TIMEOUT, "too late"),
    SaidNothing(),
    EndedWell(61.5),
    EndedBadly(2, "no way", (Deserter("relay", "server", None, "panic"),)),
)
VALUES: dict[str, list[Any]] = {
    "node": ["a"], "other": ["b"], "relay": ["server"], "server": ["server"], "size": [700],
    "packet": [SIGHT], "came": [SIGHT], "went": [SIGHT], "vantage": ["nat-b:wan"],
    "step": list(StepName), "other_step": [StepName.SYNC_SENT],
    "noise": [FirstNoise(32, None), None],
    "predicted": [*Rung, None], "measured": [Outcome.RELAYED], "claimed": [Outcome.DIRECT],
    "said": [*SAYINGS, None], "there": [3], "back": [4],
    "claims": [(Claim("a", None, SaidNothing()), Claim("b", Outcome.DIRECT))],
    "stack": ["go-libp2p"], "name": ["it waits"], "link": ["https://example.org"],
    "difference": list(Difference), "what": ["eth0", Route(IPv4Network("0.0.0.0/0"), None)],
    "direction": ["a to b"], "frames": [2], "interface": ["a:eth0"], "packets": [3],
    "measured_ms": [1.5], "planned_ms": [40.0], "ms": [12.0],
    "took_s": [3.5], "within_s": [3.0], "phase": ["lab", None],
    "message": ["it fell off"], "remedy": ["glue", None],
    "broke_contract": [False, True],
    "source": ["a"], "target": ["b"], "clash": list(fault.Clash),
    "heard": [True, False], "tries": [3], "seconds": [0.2], "answered": [False, True],
    "service": ["coturn"], "ending": list(fault.Ending),
    "worker": list(fault.Worker), "error": ["ValueError: x"],
    "remote": [Endpoint(IPv4Address("29.0.0.2"), 4001)],
    "why": ["", "no room"], "kept": ["", "crash.txt"],
    "run": [3], "told": [True, False], "seen": [(3, 5)], "sent": [70], "allowed": [64],
    "pair": ["p1--p2"], "direct": [3], "pairs": [8], "foreseen": [(4, 8)], "passed": [900],
    "done": [0, 400], "asked": [500],
    "recorded": [(3, 900)], "counted": [(4, 966)], "count": [2],
    "carriage": [
        Carriage("c0ffee", "12D3", 9, 8, 1, 7, 6, 30, 900),
        Carriage("c0ffee", "12D3", 9, 8, 1, None, None, 30, 900),
    ],
    "proven": [Proven("drops", "12D3", "c0ffee")],
}  # fmt: skip
OVERRIDES: dict[type, dict[str, list[Any]]] = {
    breach.RungDiffers: {"measured": [*Rung, None]},
    breach.RungClaimed: {"measured": [Rung.PUNCHED], "claimed": [None]},
    breach.CountDisputed: {"told": [(3, 4)]},
    breach.FateDiffers: {"seen": list(Fate), "expected": list(Fate)},
    breach.GapDiffers: {"seen": [7.5], "low": [2.0], "high": [6.0]},
    breach.PlaceDiffers: {"moved": [True, False]},
    breach.PathDiffers: {"predicted": list(Outcome)},
    breach.Belated: {"what": list(Tardy)},
    breach.Unfounded: {"ms": [12.0, None]},
    fault.Late: {"what": list(Tardy)},
}


def examples(kind: type) -> list[Any]:
    """Values of one type of fact that differ in each field in turn."""
    known = VALUES | OVERRIDES.get(kind, {})
    names = [one.name for one in fields(kind) if one.name != "kind"]
    usual = {name: known[name][0] for name in names}
    return [kind(**(usual | {name: value})) for name in names for value in known[name]] or [kind()]


BREACHES = [one for kind in get_args(Breach) for one in examples(kind)]
FAULTS = [one for kind in get_args(Fault) for one in examples(kind)]


@pytest.mark.parametrize("fact", [*BREACHES, *FAULTS], ids=lambda fact: fact.kind)
def test_every_fact_has_a_sentence(fact: Breach | Fault) -> None:
    assert sentence(fact).strip()


def test_facts_are_read_back_from_json_as_they_were() -> None:
    kept = result().model_copy(update={"finding_values": tuple(BREACHES)})
    assert Result.model_validate_json(kept.model_dump_json()) == kept
    assert faults_from_json(faults_to_json(FAULTS)) == tuple(FAULTS)
    wrong: Any
    for wrong in ([{"kind": "nobody knows"}], [{}], "no list", [{"kind": "relay_kept"}]):
        with pytest.raises(ValueError, match="validation error"):
            faults_from_json(wrong)
        with pytest.raises(ValueError, match="validation error"):
            result(finding_values=wrong)


@pytest.mark.parametrize(("union", "kinds"), [(Breach, BreachKind), (Fault, FaultKind)])
def test_each_kind_is_of_one_type(union: object, kinds: type[BreachKind] | type[FaultKind]) -> None:
    told = []
    for kind in get_args(union):
        (field,) = [one for one in fields(kind) if one.name == "kind"]
        assert field.default is not MISSING
        assert get_args(get_type_hints(kind)["kind"]) == (field.default,)
        told.append(field.default)
    assert sorted(told) == sorted(kinds)
