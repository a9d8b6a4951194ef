"""``python3 -m testbed.compose.record``: the packets of the node that it runs beside.

What `images/capture` starts.  Every interface but loopback is recorded, as in the captures
of labs, until SIGINT or SIGTERM; then the pcapng goes to standard output.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

from testbed.capture.recorder import record
from testbed.errors import Exit, TestbedError, UsageError
from testbed.model.plan import Vantage

_STOPS = {signal.SIGINT, signal.SIGTERM}


def main() -> int:
    """The exit code; 3 if a packet was lost or the capture failed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # the recorder ends when it is told
    try:
        if os.isatty(1):
            raise UsageError("packets are no sight for a terminal", remedy="> NODE.pcapng")
        return _recorded()
    except TestbedError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)


def _recorded() -> int:
    node = socket.gethostname()  # a container beside a node has its name
    vantages = [Vantage(node, name) for _, name in socket.if_nameindex() if name != "lo"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "capture.pcapng")
        with record(_packets, vantages, path) as recorder:
            print("recording", *(vantage.name for vantage in vantages), file=sys.stderr)
            signal.sigwait(_STOPS)
        with path.open("rb") as capture:
            shutil.copyfileobj(capture, sys.stdout.buffer)
    found = recorder.recording
    print(f"{found.packets} packets, {found.dropped} lost", file=sys.stderr)
    return int(Exit.AGREED if found.complete else Exit.INCONCLUSIVE)


def _packets(_: Vantage) -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


if __name__ == "__main__":
    sys.exit(main())
