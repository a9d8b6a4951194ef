"""What stacks do otherwise is data in their folders: read strictly, and changed knowingly."""

import hashlib
import random
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from testbed.errors import UsageError
from testbed.model.behaviour import Allocation, Filtering, Mapping, Transport
from testbed.model.deviation import Besides, Case
from testbed.model.outcome import Outcome, Rung
from testbed.predict.deviations import DEVIATIONS, known
from testbed.stacks import folders
from testbed.stacks.registry import ADAPTERS

# The rows were proven equal to the functions that they replaced, over all 884,736 cases.
DIGEST = "e431263143b8d180"
DIGEST_MET = "7f216c95c1315d4a"  # where ends are met at their own addresses, too
STACKS = ("go", "go-v0.46", "js", "py", "rust", "rust-v0.54", "traversal", "other")
NATS = [
    Transport(mapping=mapping, filtering=filtering, allocation=allocation)
    for mapping, filtering, allocation in product(Mapping, Filtering, Allocation)
]
ROW = """
[[deviation]]
name = "it is late"
order = 1
versions = ["1.0"]
cause = "it sleeps"
link = "https://example.org/"
date = "2026-11-29"
breaches = [
    { kind = "relay_kept", role = "a" },
]
when = [
    { transport = "tcp", dialer = { not = ["js"] } },
    { listener_nat = { mapping = ["none"] } },
]
"""


def drawn(count: int, *, met: bool = False) -> list[Case]:
    """Cases by chance, the same ones every time; ``met``: some ends at their own addresses."""
    rolled = random.Random(13)
    found = []
    for _ in range(count):
        suffix = rolled.choice(("tcp", "quic"))
        dialer, listener = (f"{rolled.choice(STACKS)}-{suffix}" for _ in range(2))
        nats = rolled.choice(NATS), rolled.choice(NATS)
        outcome = rolled.choice(list(Outcome))
        rung = rolled.choice((Rung.REVERSED, Rung.PUNCHED)) if outcome is Outcome.DIRECT else None
        case = Case(dialer, listener, suffix == "quic", *nats, outcome, rung=rung)
        there = [rolled.random() < 0.5 for _ in range(4)] if met else [False] * 4
        case = replace(case, dialer_reached=there[0], listener_reached=there[1])
        found.append(replace(case, dialer_public=there[2], listener_public=there[3]))
    return found


def said(cases: list[Case]) -> list[list[tuple[str, str]]]:
    return [[(one.stack, one.name) for one in known(case)] for case in cases]


@pytest.mark.parametrize(("met", "digest"), [(False, DIGEST), (True, DIGEST_MET)])
def test_the_rows_say_what_they_said_when_they_were_last_confirmed(met: bool, digest: str) -> None:
    told = said(drawn(10_000, met=met))
    assert hashlib.sha256(repr(told).encode()).hexdigest()[:16] == digest


def test_every_row_is_said_of_some_case() -> None:
    told = said(drawn(10_000, met=True))
    assert {name for names in told for name in names} == {(r.stack, r.name) for r in DEVIATIONS}


def test_every_stack_in_a_row_is_there() -> None:
    families = {one.family for one in ADAPTERS.values()}
    for row in DEVIATIONS:
        for match in row.when:
            for side in (match.dialer, match.listener):
                names = side.besides if isinstance(side, Besides) else side or ()
                assert families.issuperset(names), row.name


def read(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "mine" / "deviations.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return tuple(f"{one.stack}: {one.name}" for one in folders.deviations(folder))


def test_a_stack_brings_its_deviations_in_its_folder(tmp_path: Path) -> None:
    assert read(tmp_path, ROW) == ("mine: it is late",)


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('transport = "tcp"', 'transport = "sctp"', 13, "deviation.0.when.0.transport"),
        ('mapping = ["none"]', 'mapping = ["nothing"]', 14, "deviation.0.when.1.listener_nat"),
        ("dialer = {", "dialler = {", 13, "deviation.0.when.0.dialler"),
        ('kind = "relay_kept"', 'kind = "unkind"', 10, "deviation.0.breaches.0.kind"),
        ("2026-11-29", "yesterday", 8, "deviation.0.date"),
        ('versions = ["1.0"]', "versions = []", 5, "deviation.0.versions"),
        ("order = 1\n", "", 2, "deviation.0.order"),
        ("order = 1", "order = one", 4, ""),
    ],
)
def test_a_row_that_is_wrong_is_refused_by_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    assert old in ROW
    with pytest.raises(UsageError) as refused:
        read(tmp_path, ROW.replace(old, new))
    assert f"mine/deviations.toml:{line}: {key}" in str(refused.value)
