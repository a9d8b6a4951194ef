"""A harness that has something to hide, and a probe as a peer in its lab: what does it reach?

``python reach.py KIND [free]`` prints what the probe found, in a lab of ``KIND``, as JSON;
``free``: without a confinement, which shows that there is something to find.
"""

import ctypes
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

SECRET = "CI_SECRET_TOKEN"
PROBE = Path(__file__).with_name("reach_probe.py")
DEADLINE = 30.0


def main() -> None:
    os.environ[SECRET] = "hunter2"
    from testbed.lab import sandbox

    sandbox.enter()
    from testbed.lab.choice import Kind, backend
    from testbed.model.lab import Confinement
    from testbed.model.presets import BARE, two_homes
    from testbed.nat.load import catalogue
    from testbed.plan.planner import plan
    from testbed.stacks.reading import program

    steps = plan(two_homes("linux-home", "full-cone", link=BARE), catalogue())
    kind = Kind(sys.argv[1])
    python = "/usr/bin/python3" if kind is Kind.NAMESPACES else "python3"
    with (
        tempfile.TemporaryDirectory(prefix="results") as results,
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX) as abstract,
        backend(kind).start(steps) as lab,
    ):
        Path(results, "results.json").write_text("{}")
        name = f"harness-{os.getpid()}"  # there may be several side by side
        abstract.bind("\0" + name)
        abstract.listen()
        memory = ctypes.CDLL(None).shmget(0, 4096, 0o1666)
        lab.spawn("b", ["sleep", "100"], Confinement())  # another peer
        lab.spawn("nat-a", ["sleep", "100"])
        words = [f"results={results}", f"port={port.getsockname()[1]}", f"abstract={name}"]
        words.append(f"shm={memory}")
        given = [str(PROBE)] if kind is Kind.NAMESPACES else ["-c", PROBE.read_text()]
        command = [python, *given, *words]
        confinement = None if "free" in sys.argv else Confinement(program(command))
        process = lab.spawn("a", command, confinement)
        said = process.stdout.read()
        complaint = process.stderr.read().decode()
        assert process.wait(DEADLINE) == 0, complaint
    print(json.dumps(json.loads(said) | {"results": results}))


if __name__ == "__main__":
    main()
