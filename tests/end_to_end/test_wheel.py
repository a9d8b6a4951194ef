"""A wheel in an environment of its own, in an empty folder: no clone is near."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import testbed
from testbed.nat.load import DEFAULT

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(pytest.__file__).parent.parent
CARRIED = "testbed/shared"


@dataclass(frozen=True)
class Installed:
    """``venv`` has the wheel; commands are run in ``folder``, which is empty at first."""

    venv: Path
    folder: Path
    home: Path

    def __call__(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        program, *rest = words
        return subprocess.run(
            [self.venv / "bin" / program, *rest],
            cwd=cwd or self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def said(self, *words: str) -> str:
        """The output of what must go well."""
        done = self(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def build(source: Path, target: str, place: Path) -> Path:
    """By the backend that pyproject.toml names, which needs no network."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(place)]
    subprocess.run(words, cwd=source, check=True, capture_output=True, timeout=60)
    (made,) = place.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as an index's users would."""
    place = tmp_path_factory.mktemp("built")
    packed = build(ROOT, "sdist", place / "sdist")
    subprocess.run(["tar", "-xf", packed, "-C", place], check=True, timeout=60)
    return build(place / f"nat_testbed-{testbed.__version__}", "wheel", place / "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What the testbed depends on is borrowed from this environment; the testbed itself is not."""
    place = tmp_path_factory.mktemp("elsewhere")
    venv.create(place / "venv", symlinks=True)
    python = place / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, timeout=120)
    borrowed = place / "borrowed"
    borrowed.mkdir()
    for entry in SITE.iterdir():
        if "nat_testbed" not in entry.name:
            (borrowed / entry.name).symlink_to(entry)
    (site,) = (place / "venv" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    (place / "empty").mkdir()
    (place / "home").mkdir()
    return Installed(place / "venv", place / "empty", place / "home")


def test_a_wheel_has_every_file_that_a_run_may_need(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    shared = {name: f"{CARRIED}/{name}" for name in ("nat-profiles", "compose", "images")}
    for folder, inside in {"testbed": "testbed", **shared}.items():
        files = [file for file in (ROOT / folder).rglob("*") if file.is_file()]
        wanted = {
            f"{inside}/{file.relative_to(ROOT / folder)}"
            for file in files
            if "__pycache__" not in file.parts
        }
        assert len(wanted) > 3
        assert wanted <= packed


def test_a_wheel_from_a_source_distribution_is_the_clones(wheel: Path, tmp_path: Path) -> None:
    direct = build(ROOT, "wheel", tmp_path)
    made, wanted = (
        {entry.filename: (entry.CRC, entry.external_attr >> 16) for entry in found.infolist()}
        for found in (zipfile.ZipFile(wheel), zipfile.ZipFile(direct))
    )
    assert made == wanted


def test_nothing_is_taken_from_a_clone(installed: Installed) -> None:
    program = "from testbed import places as p; print(p.PACKAGE, p.clone(), p.built())"
    package, clone, built = installed.said("python", "-c", program).split()
    assert Path(package).is_relative_to(installed.venv)
    assert clone == "None"
    assert Path(built) == installed.home / ".local/share/nat-testbed"
    assert installed.said("testbed", "--version") == f"testbed {testbed.__version__}\n"


def test_nat_list_has_the_whole_catalogue(installed: Installed) -> None:
    listed = json.loads(installed.said("testbed", "nat", "list", "--json"))
    assert set(listed) == {path.stem for path in DEFAULT.glob("*.toml")}


def test_plan_and_compose_render_have_rules_and_templates(installed: Installed) -> None:
    planned = installed.said("testbed", "plan", "two-homes", "-b", "symmetric")
    assert planned.count("table ip ") >= 2
    installed.said("testbed", "compose", "render", "two-homes", "-b", "symmetric", "-o", "project")
    files = {path.name for path in (installed.folder / "project").iterdir()}
    assert {"compose.yaml", "README.md", "start", "rules", "profiles"} <= files


def test_a_cell_is_run_and_explained(installed: Installed) -> None:
    assert installed.said("testbed", "run", "--peer", "punch-udp", "-o", "cell").startswith("pass")
    facts = json.loads((installed.folder / "cell" / "cell.json").read_text())["facts"]
    assert facts["nat-testbed"] == testbed.__version__
    assert "direct" in installed.said("testbed", "explain", "cell")


def test_a_matrix_of_classic_nats_certifies_and_reports(installed: Installed) -> None:
    words = ["--profiles", "classic", "--peers", "punch-udp", "--select", "punch-udp/symmetric--*"]
    said = installed.said("testbed", "matrix", *words)
    assert "6 of 6 cells as predicted" in said
    assert (installed.folder / "out" / "matrix" / "report.html").stat().st_size > 10_000
    kept = installed.home / ".cache" / "nat-testbed" / "certificates"
    assert {path.name.rpartition("-")[0] for path in kept.iterdir()} == {
        "full-cone", "restricted-cone", "port-restricted", "symmetric"
    }  # fmt: skip


def test_a_profile_of_the_users_own_is_as_good_as_ours(installed: Installed) -> None:
    own = installed.home / ".config" / "nat-testbed" / "profiles"
    own.mkdir(parents=True)
    shutil.copy(DEFAULT / "symmetric.toml", own / "office.toml")
    shutil.copy(DEFAULT / "full-cone.toml", installed.folder / "mine.toml")
    words = ["--peer", "punch-udp", "-a", "./mine.toml", "-b", "office", "-o", "own"]
    assert installed.said("testbed", "run", *words).startswith("pass: measured direct")
    (installed.folder / "mine.toml").unlink()
    replayed = installed("testbed", "run", "--replay", "own", "-o", "again")
    assert replayed.stdout.startswith("pass: measured direct"), replayed.stderr


def test_what_is_not_built_is_told_with_a_command_that_a_wheel_has(installed: Installed) -> None:
    done = installed("testbed", "run", "--peer", "pion")
    assert done.returncode == 4
    assert f"{installed.home}/.local/share/nat-testbed/peers/pion/pion" in done.stderr
    assert "testbed build peers" in done.stderr
    done = installed("testbed", "build", "peers", "pyon")
    assert done.returncode == 2
    assert "pion" in done.stderr


def test_the_plugin_serves_a_suite_elsewhere(installed: Installed, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    shutil.copytree(ROOT / "tests" / "example", suite)
    done = installed("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=suite)
    assert "5 passed" in done.stdout, done.stdout + done.stderr
