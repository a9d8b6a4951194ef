"""A profile that is written out of a measurement is the profile that is read."""

from pathlib import Path

import pytest

from testbed.certify.derive import Derived, Omitted, Why
from testbed.certify.measured import Finding
from testbed.model.behaviour import Behaviour, Filtering
from testbed.model.plan import Engine
from testbed.model.statement.probing import OfHost
from testbed.nat.load import catalogue, load
from testbed.report.profiles import toml

CATALOGUE = {n: p for n, p in catalogue().items() if not p.behaviour.forwards}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_behaviour_of_the_catalogue_is_read_as_it_was_written(
    name: str, tmp_path: Path
) -> None:
    profile = CATALOGUE[name]
    written = toml(Derived(profile.behaviour, profile.engine, ()), 'a "quoted" router', ())
    (tmp_path / "mine.toml").write_text(written, encoding="utf-8")
    read = load(tmp_path / "mine.toml")
    assert (read.behaviour, read.engine) == (profile.behaviour, profile.engine)


def test_what_was_not_measured_stands_in_comments_alone() -> None:
    omitted = Omitted("udp.filtering", Why.NO_WORD, Finding("inconsistent", OfHost("b", "none")))
    text = toml(Derived(Behaviour(), Engine.NFTABLES, (omitted,)), "mine", ())
    keys = [line for line in text.splitlines() if line.startswith("filtering")]
    assert keys == [f'filtering = "{Filtering.ADDRESS_AND_PORT_DEPENDENT}"']  # TCP's
    assert "#   udp.filtering: inconsistent" in text
    assert text.index("[tcp]") < text.index(keys[0])
