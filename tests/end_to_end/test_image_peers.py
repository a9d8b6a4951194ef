"""A user's image as a peer, unmodified: of either contract, cheating, missing, and killed."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import docker, own, require_engine
from trying import ran, sure

from testbed.errors import UnfitError
from testbed.lab.containers.lab import Containers
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.run.cell import Ran
from testbed.stacks import registry as adapter
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import add_stacks
from testbed.words import sentence

ROOT = Path(__file__).resolve().parents[2]
TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]
OURS = "exec python3 /usr/local/bin/unified-peer"
# As their images begin: routes by the names of their networks' interfaces, else an end.
ROUTES = """set -e
if [ -n "$RELAY_IP" ]; then
    ip route add "$DIALER_LAN_SUBNET" via "$DIALER_ROUTER_IP" dev wan0
else
    ip route add "$WAN_SUBNET" via "$WAN_ROUTER_IP" dev lan0
fi
"""
ENTRY_POINTS = {
    "honest": ("sh", "-c", ROUTES + OURS),
    "boast": ("python3", "/cheat", "boast"),
    "redis": ("python3", "/cheat", "redis"),
    "lines": ("python3", "-m", "testbed.stacks", "punch-udp"),
    "asleep": ("sleep", "1000"),
}


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    require_engine()
    known = dict(adapter._KNOWN)
    monkeypatch.setattr(adapter, "_KNOWN", known)
    monkeypatch.setattr(adapter, "ADAPTERS", known)
    monkeypatch.setattr("testbed.studies.punch.external.ADAPTERS", known)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Built once, by name; each is gone after the tests."""
    require_engine()
    folder = tmp_path_factory.mktemp("images")
    for source in (
        ROOT / "images/unified-peer/peer.py",
        ROOT / "tests/conformance/unified_cheat.py",
    ):
        (folder / source.name).write_bytes(source.read_bytes())
    names, run = {}, secrets.token_hex(4)  # a sandbox's process number is another's, too
    for name, entry in ENTRY_POINTS.items():
        head = "FROM testbed-peer\nUSER root\nCOPY peer.py /usr/local/bin/unified-peer\n"
        text = f"{head}COPY unified_cheat.py /cheat\nENTRYPOINT {json.dumps(entry)}\n"
        (folder / "Dockerfile").write_text(text)
        names[name] = f"test-{name}-{run}"
        built = ["docker", "build", "-q", "-t", names[name], str(folder)]
        subprocess.run(built, check=True, capture_output=True, timeout=120)
    yield names
    docker("rmi", "-f", *names.values())


def met(image: str, folder: Path, contract: str = "unified", mechanism: str = "dcutr_tcp") -> Ran:
    add_stacks([f"mine=image:{image}"], mechanism, contract)
    relay = "mine" if "honest" in image else adapter.OURS
    cell = Cell("mine", ("port-restricted", "port-restricted"), relay=relay)
    return sure(ran(cell, folder, backend=Containers()))


@pytest.mark.parametrize("way", ["boast", "redis"])
def test_an_image_that_cheats_is_found_out(
    way: str, images: dict[str, str], tmp_path: Path
) -> None:
    verdict = met(images[way], tmp_path).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.NONE, Judgement.FAIL), verdict
    assert "a claims direct, the wire shows none" in sentence(verdict.findings[0])


@pytest.mark.timeout(120)
def test_a_strangers_images_dial_listen_and_relay_unmodified(
    images: dict[str, str], tmp_path: Path
) -> None:
    verdict = met(images["honest"], tmp_path).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


def test_an_image_may_speak_our_own_contract(images: dict[str, str], tmp_path: Path) -> None:
    verdict = met(images["lines"], tmp_path, "lines", "punch_udp").verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="the engine has no image no-such-image"):
        met("no-such-image", tmp_path)


@pytest.mark.timeout(120)
def test_a_killed_run_ends_its_images_and_a_wipe_removes_them(
    images: dict[str, str], tmp_path: Path
) -> None:
    """In a folder whose name is longer than a socket's may be."""
    env = os.environ | {"TMPDIR": str(tmp_path)}
    words = ["run", "--peer", "mine", "--stack", f"mine=image:{images['asleep']}", "--mechanism"]
    words += [
        "dcutr_tcp",
        "--contract",
        "unified",
        "--backend",
        "docker",
        "-o",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(
        [*TESTBED, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    )
    deadline = time.monotonic() + 60
    strangers: set[str] = set()
    while len(strangers) < 2 and time.monotonic() < deadline:
        strangers = {name for name in own(tmp_path) if name[-1].isdigit() and _runs(name)}
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert len(strangers) == 2
    while any(map(_runs, strangers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_runs, strangers))
    subprocess.run([*TESTBED, "wipe"], capture_output=True, check=True, env=env, timeout=120)
    assert not own(tmp_path)


def _runs(name: str) -> bool:
    done = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Running}}", name], capture_output=True, text=True
    )
    return done.stdout.strip() == "true"
