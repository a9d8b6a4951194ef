"""Everything works in a locale that is not UTF-8, and with folders whose names are not ASCII."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LATIN = "de_DE.ISO-8859-1"
PLAIN_PYTHON = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module", params=["C", LATIN, "C.utf8"])
def locale(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of a locale; that of a German Latin-1 terminal is made here."""
    name: str = request.param
    if name != LATIN:
        return PLAIN_PYTHON | {"LC_ALL": name}
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("no localedef to make a Latin-1 locale with")
    words = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / LATIN)]
    subprocess.run(words, check=True, timeout=60)
    return PLAIN_PYTHON | {"LC_ALL": LATIN, "LOCPATH": str(folder)}


def said(*words: str | bytes, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed", *words]
    return subprocess.run(
        command, capture_output=True, timeout=120, check=False, env=os.environ | env
    )


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell, run in the C locale into a folder with a German name."""
    out = tmp_path_factory.mktemp("runs") / "ergebnis-für-alle"
    words = ("--profiles", "symmetric", "--peers", "punch-udp", "--no-controls", "--no-certify")
    done = said("matrix", *words, "-o", str(out), env=PLAIN_PYTHON | {"LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert "1 of 1 cells as predicted" in done.stdout.decode("ascii")
    return out


def test_a_report_is_the_same_bytes_in_every_locale(matrix: Path, locale: dict[str, str]) -> None:
    page = matrix / "report.html"
    before = page.read_bytes()
    page.unlink()
    done = said("report", str(matrix), env=locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert page.read_bytes() == before
    assert "Ã" not in before.decode("utf-8")


@pytest.mark.parametrize(
    "words",
    [("nat", "list"), ("nat", "show", "openwrt"), ("plan",), ("doctor",), ("matrix", "--help")],
)
def test_words_are_in_the_encoding_of_the_locale(
    words: tuple[str, ...], locale: dict[str, str]
) -> None:
    done = said(*words, env=locale)
    assert done.returncode in (0, 4), done.stderr
    assert done.stderr == b""
    encoding = {LATIN: "latin-1", "C.utf8": "utf-8"}.get(locale["LC_ALL"], "ascii")
    assert r"\u" not in done.stdout.decode(encoding)


def test_a_cell_is_explained_and_compared_in_every_locale(
    matrix: Path, locale: dict[str, str]
) -> None:
    done = said("explain", "punch-udp/symmetric--symmetric", "-o", str(matrix), env=locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mapping_changed at nat-a" in done.stdout
    same = said("golden", str(matrix), "-o", str(matrix / "gültig.json"), env=locale)
    assert (same.returncode, same.stderr) == (0, b"")
    held = said("compare", str(matrix / "gültig.json"), str(matrix), env=locale)
    assert (held.returncode, held.stderr) == (0, b"")


def test_a_name_that_no_utf8_file_could_hold_is_refused_before_a_run(
    tmp_path: Path, locale: dict[str, str]
) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    done = said("run", "-o", folder, env=locale)
    assert done.returncode == 2
    assert b"is not UTF-8" in done.stderr
    assert not Path(os.fsdecode(folder)).exists()
