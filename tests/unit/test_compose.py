"""Plans as compose projects: what is written, without an engine."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.compose.project import layout, render, write
from testbed.compose.source import FILE, Source, read
from testbed.errors import UsageError
from testbed.model.plan import AddNode, LoadRules, ServePortMapping
from testbed.model.presets import PRESETS, two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

CATALOGUE = catalogue()


# Worlds with links of which a project can only say the delay.
MORE_THAN_DELAY = (
    "bad-wifi",
    "dsl-at-both-ends",
    "mtu-1280-tunnel",
    "mtu-black-hole",
    "satellite",
    "satellite-lossy",
)


SEVERAL = ("dual-homed-phone", "two-uplinks", "vpn-on")  # interfaces of a node


def rendered(topology: str = "two-homes", *profiles: str) -> dict[str, str]:
    return render(Source(topology, profiles))


def accepted(folder: Path) -> bool:
    """By docker-compose, against the schema of the compose specification."""
    if shutil.which("docker-compose") is None:
        pytest.skip("NO SCHEMA: docker-compose is not installed")
    words = ["docker-compose", "-f", str(folder / "compose.yaml"), "config", "-q"]
    return subprocess.run(words, capture_output=True, timeout=60).returncode == 0


def test_a_link_that_does_more_than_delay_is_refused() -> None:
    """A project would leave it out, and nobody would know."""
    for world in MORE_THAN_DELAY:
        with pytest.raises(UsageError, match="does more than delay"):
            rendered(world)
    assert render(Source("satellite", (), certifiable=True))


@pytest.mark.parametrize(
    "topology", [name for name in PRESETS if name not in (*MORE_THAN_DELAY, *SEVERAL)]
)
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
    files = rendered("two-homes", "linux-home", "symmetric")
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


def test_a_service_of_port_mapping_comes_with_its_configuration_and_tables() -> None:
    files = rendered("two-homes", "upnp2-home", "upnp-home")
    mini, own = Source("two-homes", ("upnp2-home", "upnp-home")).plan().of(ServePortMapping)
    assert files["rules/nat-a/portmap.nft"] == mini.chains
    assert files["rules/nat-a/miniupnpd.conf"] == mini.config
    assert not any(name.startswith("rules/nat-b/mini") for name in files)
    assert files["rules/nat-b/gateway.json"] == own.config
    assert not any(name.startswith("rules/nat-a/gateway") for name in files)


def test_the_gateway_in_a_project_is_a_program_that_needs_no_more_than_python(
    tmp_path: Path,
) -> None:
    write(rendered("two-homes", "upnp-home"), tmp_path)
    code = "import gateway.serve, sys; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=tmp_path / "rules/nat-a", capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(loaded) - {"gateway", "__main__"} <= sys.stdlib_module_names


def test_a_project_rendered_anew_keeps_no_rules_of_before(tmp_path: Path) -> None:
    write(rendered("two-homes", "upnp-home"), tmp_path)
    write(rendered("two-homes", "linux-home"), tmp_path)
    assert {path.name for path in tmp_path.glob("rules/nat-a/*")} == {"00.rules"}


@pytest.mark.parametrize("certifiable", [False, True])
def test_a_project_says_what_it_was_rendered_from(certifiable: bool, tmp_path: Path) -> None:
    source = Source("carrier", ("symmetric", "full-cone"), 7, certifiable)
    write(render(source), tmp_path)
    assert read(tmp_path) == source
    assert ("--certifiable" in (tmp_path / "compose.yaml").read_text()) is certifiable


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"topology": "two-homes", "profiles": "a"}'])
def test_a_folder_without_its_source_is_no_project(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UsageError, match="says of no project"):
        read(tmp_path)


def test_a_certifiable_project_has_short_timers_and_no_delay() -> None:
    short = Source("two-homes", ("linux-home", "symmetric"), certifiable=True)
    slow = Source("two-homes", ("linux-home", "symmetric"))
    assert {p.behaviour.timeouts.udp for p in short.named().values()} == {2}
    assert not any(service.delays for service in layout(short.plan()).services.values())
    assert all(layout(slow.plan()).services[router].delays for router in ("nat-a", "nat-b"))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_a_project_reads_no_world_outside_of_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.toml").write_text("title = 'nobody may read this'", encoding="utf-8")
    source = Source("two-homes", ("full-cone", "symmetric"), 0, False, ())
    folder = tmp_path / "project"
    (folder / "worlds").mkdir(parents=True)
    (folder / FILE).write_text(source.to_json().replace("two-homes", name), encoding="utf-8")
    with pytest.raises(UsageError, match="is no name") as raised:
        read(folder)
    assert "nobody may read" not in str(raised.value)


def test_a_project_whose_world_is_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "worlds").mkdir(parents=True)
    (folder / FILE).write_text(Source("two-homes", (), 0, False, ()).to_json(), encoding="utf-8")
    (folder / "worlds/two-homes.toml").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="leads out"):
        read(folder)


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000])
def test_a_project_that_is_too_deep_is_refused(deep: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(deep, encoding="utf-8")
    with pytest.raises(UsageError, match="says of no project"):
        read(tmp_path)
