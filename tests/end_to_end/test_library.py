"""The traversal library alone, in an environment that has what it declares and nothing else."""

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import testbed.traversal

LIBRARY = Path(testbed.traversal.__file__).parent
# A sample: `make library` runs them all.
TESTS = ("adoption", "cores", "package", "readme_program", "vectors")


@dataclass(frozen=True)
class Alone:
    """``python`` has the library, ``tests`` its tests, and ``project`` is its pyproject.toml."""

    python: Path
    tests: Path
    project: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *words],
            cwd=self.tests,
            env={"PATH": os.environ["PATH"], "HOME": str(self.tests)},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


def build(source: Path, target: str, place: Path) -> Path:
    words = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(place)]
    subprocess.run(words, cwd=source, check=True, capture_output=True, timeout=60)
    (made,) = place.iterdir()
    return made


def entries(name: str, extra: str, found: dict[str, set[Path]]) -> None:
    """Top-level files and folders of a distribution, and of what it needs, by its name."""
    if name in found:
        return
    distribution = metadata.distribution(name)
    parts = [file.parts[0] for file in distribution.files or () if ".." not in file.parts]
    found[name] = {Path(str(distribution.locate_file(part))) for part in parts}
    needed(distribution.requires or [], extra, found)


def needed(requirements: list[str], extra: str, found: dict[str, set[Path]]) -> None:
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            entries(requirement.name, "", found)


@pytest.fixture(scope="module", autouse=True)
def _loopback() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    place = tmp_path_factory.mktemp("library")
    packed = build(LIBRARY, "sdist", place / "sdist")
    subprocess.run(["tar", "-xf", packed, "-C", place], check=True, timeout=60)
    source = place / f"testbed_traversal-{testbed.traversal.__version__}"
    wheel = build(source, "wheel", place / "wheel")
    venv.create(place / "venv", symlinks=True)
    python = place / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, timeout=120)
    (site,) = (place / "venv" / "lib").glob("python*/site-packages")
    (installed,) = metadata.distributions(name="testbed-traversal", path=[str(site)])
    borrowed: dict[str, set[Path]] = {}
    needed(installed.requires or [], "test", borrowed)
    for entry in {entry for some in borrowed.values() for entry in some}:
        if entry.exists() and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    # Away from the modules of the source distribution, which are no package where they lie.
    tests = (source / "tests").rename(place / "tests")
    return Alone(python, tests, source / "pyproject.toml")


def test_the_library_needs_three_distributions_at_the_most() -> None:
    import tomllib

    project = tomllib.loads((LIBRARY / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 3


def test_its_wheel_has_a_license_types_and_its_version(alone: Alone) -> None:
    program = (
        "import importlib.metadata as m, testbed.traversal as t;"
        "d = m.distribution('testbed-traversal');"
        "print(d.version == t.__version__,"
        " any(f.name == 'LICENSE' for f in d.files), any(f.name == 'py.typed' for f in d.files))"
    )
    done = alone("-c", program)
    assert done.stdout.split() == ["True", "True", "True"], done.stdout + done.stderr


def test_the_testbed_is_not_there(alone: Alone) -> None:
    done = alone("-c", "import testbed.traversal, testbed.lab")
    assert "No module named 'testbed.lab'" in done.stderr


@pytest.mark.timeout(300)
def test_its_own_tests_pass_there(alone: Alone) -> None:
    files = [f"traversal/test_{name}.py" for name in TESTS]
    words = ["-p", "no:cacheprovider", "-c", str(alone.project), "--rootdir", "."]
    done = alone("-m", "pytest", "-q", *words, *files)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
