"""`testbed up`."""

import os
import time

from testbed import attach
from testbed.backends import sandbox
from testbed.backends.audit import require_closed
from testbed.backends.namespaces import Namespaces
from testbed.plan.model import Plan


def keep(steps: Plan) -> None:
    """Bring a lab up and keep it until it is told to stop, by a signal or `testbed wipe`."""
    outside = os.getpid()
    server = attach.listen()
    sandbox.enter()
    before = time.perf_counter()
    with Namespaces().start(steps) as lab:
        ready = time.perf_counter() - before
        require_closed(lab)
        print(f"up in {ready * 1e3:.0f} ms, closed to the outside; lab {outside}", flush=True)
        for node, addresses in steps.addresses.items():
            inside = f"  (inside {steps.internal[node]})" if node in steps.internal else ""
            print(f"  {node:14} {', '.join(map(str, addresses))}{inside}", flush=True)
        print("enter with: testbed shell NODE; end with Ctrl-C", flush=True)
        attach.serve(server, lab)
