"""Plans as compose projects: what is written, without an engine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.compose.project import render, write
from testbed.errors import UsageError
from testbed.nat.load import catalogue
from testbed.plan.model import AddNode, LoadRules
from testbed.plan.planner import plan
from testbed.topology.presets import PRESETS, preset, two_homes

CATALOGUE = catalogue()


def rendered(topology: str = "two-homes") -> dict[str, str]:
    return render(plan(preset(topology), CATALOGUE), "testbed compose render")


def accepted(folder: Path) -> bool:
    """By docker-compose, against the schema of the compose specification."""
    if shutil.which("docker-compose") is None:
        pytest.skip("NO SCHEMA: docker-compose is not installed")
    words = ["docker-compose", "-f", str(folder / "compose.yaml"), "config", "-q"]
    return subprocess.run(words, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("topology", PRESETS)
def test_every_preset_passes_the_schema(topology: str, tmp_path: Path) -> None:
    write(rendered(topology), tmp_path / "project")
    assert accepted(tmp_path / "project")


def test_the_schema_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    files = rendered()
    files["compose.yaml"] = files["compose.yaml"].replace("cap_drop", "cap_lost")
    write(files, tmp_path / "project")
    assert not accepted(tmp_path / "project")


def test_the_rules_are_the_plans_and_every_node_is_there() -> None:
    steps = plan(two_homes("linux-home", "symmetric"), CATALOGUE)
    files = render(steps, "")
    texts = [text for name, text in files.items() if name.startswith("rules/")]
    assert texts == [step.text for step in steps.of(LoadRules)]
    for step in steps.of(AddNode):
        assert f"\n  {step.node}:\n" in files["compose.yaml"]


def test_every_network_is_internal_and_nobody_is_privileged() -> None:
    text = rendered()["compose.yaml"]
    assert text.count("internal: true") == text.count("subnet:") == 5
    assert text.count("cap_drop: [ALL]") == text.count("image:") == 6
    assert "privileged:" not in text
    assert "network_mode" not in text


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        write(rendered(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
