"""`testbed up` and `testbed wipe`."""

import json
import os
import time
from pathlib import Path

from testbed.errors import Exit, UsageError
from testbed.lab import attach, sandbox, serving
from testbed.lab.audit import require_closed
from testbed.lab.choice import Kind, backend
from testbed.lab.containers.address import engine_socket
from testbed.model.plan import Plan
from testbed.report.terminal import tell


def keep(steps: Plan, kind: Kind = Kind.NAMESPACES) -> None:
    """Bring a lab up and keep it until it is told to stop, by a signal or `testbed wipe`."""
    outside = os.getpid()
    server = serving.listen()
    sandbox.enter()
    made_by = backend(kind)
    before = time.perf_counter()
    with made_by.start(steps) as lab, sandbox.signals() as signals:
        ready = time.perf_counter() - before
        require_closed(lab)
        print(f"up in {ready * 1e3:.0f} ms, closed to the outside; lab {outside}", flush=True)
        for node, addresses in steps.addresses.items():
            inside = f"  (inside {steps.internal[node]})" if node in steps.internal else ""
            print(f"  {node:14} {', '.join(map(str, addresses))}{inside}", flush=True)
        print("enter with: testbed shell NODE; end with Ctrl-C", flush=True)
        serving.serve(server, lab, signals)


def require_root_for_all(every: bool, instead: str) -> None:
    """UsageError where ``every`` lab is meant, and the user is not root."""
    if every and os.getuid() != 0:
        raise UsageError("only root may ask for the labs of others", remedy=instead)


def up_now(*, everybody: bool, as_json: bool) -> int:
    """Print the labs that are up, one a line or as JSON; the exit code."""
    labs = [attach.about(lab) for lab in attach.running(everybody=everybody)]
    if as_json:
        print(json.dumps([lab.to_json() for lab in labs], indent=2))
    elif not labs:
        print("no lab is up")
    for lab in labs if not as_json else ():
        tell(lab.words)
    return int(Exit.AGREED)


def wipe(*, everybody: bool) -> str:
    """End labs that are up, and remove what killed runs left of containers; what was done."""
    labs = attach.running(everybody=everybody)
    for lab in labs:
        attach.stop(lab)
    done = [f"{len(labs)} lab(s) taken down"] if labs else []
    return "\n".join([*done, *_reap(everybody)]) or "nothing to wipe"


def _reap(everybody: bool) -> list[str]:
    """Without an engine that serves us there is no container of ours; nothing is loaded then."""
    path = Path(engine_socket())
    if not path.is_socket() or not os.access(path, os.W_OK):
        return []
    from testbed.lab.containers.engine import engine
    from testbed.lab.containers.reaper import reap

    with engine() as client:
        return [f"removed {one}" for one in reap(client, everybody=everybody)]
