"""miniupnpd, the real daemon behind a router's UPnP IGD, NAT-PMP and PCP.

It is Debian's build for nftables.  Its chains are a table of their own, so it
serves beside NATs of either engine; the older build for iptables would need the
kernel's legacy tables.
"""

import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

from testbed.errors import BackendError, UnfitError
from testbed.model.lab import Lab, Process
from testbed.model.plan import Plan, ServePortMapping
from testbed.nat.rules import HTTP_PORT

PROGRAM = "miniupnpd"
PACKAGE = "miniupnpd-nftables"
PORT = 5351  # of NAT-PMP and PCP
DEADLINE = 10.0  # seconds until it answers, or has ended
POLL_INTERVAL = 0.002  # seconds
ANSWER_TIMEOUT = 0.1  # seconds, within one node
# `-d` keeps it in the foreground and makes it talk: nobody listens.  Its pid file is where
# none can be made, and it goes on without: a daemon that ends takes the file away, and root's
# took away /dev/null.
NO_FILE = "/proc/none"
_COMMAND = f"exec {PROGRAM} -d -f /dev/stdin -P {NO_FILE} >/dev/null 2>&1"
_DESCRIPTION = b"GET /rootDesc.xml HTTP/1.0\r\n\r\n"
_ADDRESS = bytes(2)  # NAT-PMP: version 0, opcode 0, what is the external address?


class Miniupnpd:
    """One router's daemon, which can end and begin again."""

    def __init__(self, lab: Lab, step: ServePortMapping) -> None:
        self._lab = lab
        self._step = step
        self._process: Process | None = None

    def start(self) -> Self:
        """Without any mapping and with an epoch of 0, as after a reboot of the router.

        Ready when each service has answered, asked from the router itself so that no
        capture of the lab's links sees it; BackendError if one does not in time.
        """
        self.forget()
        lab, node = self._lab, self._step.node
        process = self._process = lab.spawn(node, ["sh", "-c", _COMMAND])
        process.stdin.write(self._step.config.encode())
        process.stdin.close()
        end = time.monotonic() + DEADLINE
        for name, kind, port, request, answer in self._questions():
            while not self._ask(kind, port, request, answer):
                if process.poll() is not None or time.monotonic() >= end:
                    raise BackendError(
                        f"{PROGRAM} does not answer to {name}",
                        node=node,
                        remedy=f"see what `{PROGRAM} -d` says to the configuration in the plan",
                    )
                time.sleep(POLL_INTERVAL)
        return self

    def stop(self) -> None:
        """End it without a word to anybody.  What it has mapped stays mapped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
            self._process = None

    def forget(self) -> None:
        """Take its rules away.  A daemon that runs does not notice."""
        command = ["nft", "-f", "-"]
        self._lab.run(self._step.node, command, input=self._step.chains.encode())

    def restart(self) -> None:
        """As a reboot does: mappings are forgotten, the epoch begins anew.

        A client may hear the daemon's announcement, and have mapped again, before this
        returns: who wants to see nothing mapped must `stop`, `forget` and look.
        """
        self.stop()
        self.start()

    def mappings(self) -> str:
        """Its chains with the rules of its mappings, as nft prints them."""
        command = ["nft", "list", "table", "inet", "portmap"]
        return self._lab.run(self._step.node, command).decode()

    def _questions(self) -> Iterator[tuple[str, socket.SocketKind, int, bytes, bytes]]:
        """Of each service: its name, where to ask, what, and how the answer begins."""
        lines = self._step.config.splitlines()
        if "enable_upnp=yes" in lines:
            yield "UPnP", socket.SOCK_STREAM, HTTP_PORT, _DESCRIPTION, b"HTTP/1.0 200"
        if "enable_natpmp=yes" in lines:
            yield "NAT-PMP", socket.SOCK_DGRAM, PORT, _ADDRESS, b"\0\x80"

    def _ask(self, kind: socket.SocketKind, port: int, request: bytes, answer: bytes) -> bool:
        """Whether an answer begins as it should.  Nothing announces a port that opens."""
        node = self._step.node
        address = str(self._lab.plan.internal[node])
        with self._lab.socket(node, socket.AF_INET, kind) as sock:
            sock.settimeout(ANSWER_TIMEOUT)
            try:
                sock.connect((address, port))
                sock.sendall(request)
                return sock.recv(2048).startswith(answer)
            except OSError:  # refused, or a timeout
                return False


def missing(plan: Plan) -> UnfitError | None:
    """Why a plan that asks for daemons cannot have them on this machine."""
    steps = plan.of(ServePortMapping)
    if not steps or shutil.which(PROGRAM) is not None:
        return None
    remedy = f"apt-get install {PACKAGE}, or choose profiles without port-mapping services"
    return UnfitError(f"{PROGRAM!r} is not installed", node=steps[0].node, remedy=remedy)


@contextmanager
def running(lab: Lab) -> Iterator[Mapping[str, Miniupnpd]]:
    """The daemons that the lab's plan asks for, by router, while the context lasts.

    UnfitError if one is asked for and the program is not installed.
    """
    if error := missing(lab.plan):
        raise error
    with ExitStack() as stack:
        daemons = {step.node: Miniupnpd(lab, step) for step in lab.plan.of(ServePortMapping)}
        for daemon in daemons.values():
            stack.callback(daemon.stop)
            daemon.start()
        yield daemons
