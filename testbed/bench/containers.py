"""What a lab of containers costs, beside a plain compose project of the same five containers.

Both are made by the same engine, in one run, turn by turn.  The project has the lab's nodes
and wires as internal networks; it has no rules, no delay and no check, which the lab has.
"""

import json
import os
import shutil
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

from testbed.bench.lab import five_nodes
from testbed.bench.table import Results, median_ms, say
from testbed.errors import TestbedError, UnfitError
from testbed.lab.choice import Kind, backend
from testbed.lab.containers import images

ROUNDS = 5
DEADLINE = 120.0  # seconds for one up or down


def measure(results: Results) -> None:
    """Two figures and their ratio; says what is missing where they cannot be had."""
    compose = _compose()
    try:
        containers = backend(Kind.DOCKER)
    except UnfitError as error:
        print(f"  containers are not measured: {error}")
        return
    steps = five_nodes()

    def ours() -> None:
        with containers.start(steps):
            pass

    mine = median_ms(ours, ROUNDS)
    say(results, "lab of 5 containers and 2 NATs, up and down", mine, "ms", "this testbed")
    if compose is None:
        print("  neither `docker compose` nor docker-compose is installed: not compared")
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "compose.yaml").write_text(
            json.dumps(_project()), encoding="utf-8"
        )  # JSON is YAML
        words = [*compose, "-f", f"{folder}/compose.yaml", "-p", f"testbed-bench-{os.getpid()}"]

        def theirs() -> None:
            try:
                _run([*words, "up", "-d"])
            finally:
                _run([*words, "down", "-t", "0"])

        plain = median_ms(theirs, ROUNDS)
    note = f"{' '.join(compose)}, 5 containers, 4 networks, no rules"
    say(results, "same as a plain compose project, up and down", plain, "ms", note)
    say(results, "  compose / testbed", plain / mine, "x")


def _compose() -> list[str] | None:
    """The command, whichever there is."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) is None:
            continue
        asked = subprocess.run([*words, "version"], capture_output=True, timeout=30, check=False)
        if asked.returncode == 0:
            return words
    return None


def _project() -> dict[str, object]:
    """a - nat-a - core - nat-b - b, from the same images, with the same privileges."""
    nodes = ("a", "nat-a", "core", "nat-b", "b")
    links = [f"{one}-{other}" for one, other in pairwise(nodes)]
    services = {
        node: {
            "image": images.PEER if node in ("a", "b") else images.ROUTER,
            "entrypoint": ["sleep", "1000"],
            "cap_drop": ["ALL"],
            "networks": [link for link in links if node in _ends(link, nodes)],
        }
        for node in nodes
    }
    networks = {link: {"internal": True} for link in links}
    return {"version": "2.4", "services": services, "networks": networks}


def _ends(link: str, nodes: tuple[str, ...]) -> set[str]:
    return {n for one, other in pairwise(nodes) if link == f"{one}-{other}" for n in (one, other)}


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=DEADLINE,
        check=False,
    )
    if done.returncode:
        raise TestbedError(f"{' '.join(command)}: {done.stderr.strip()}")
