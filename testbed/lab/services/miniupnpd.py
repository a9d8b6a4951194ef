"""miniupnpd, the real daemon behind a router's UPnP IGD, NAT-PMP and PCP.

It is Debian's build for nftables.  Its chains are a table of their own, so it
serves beside NATs of either engine; the older build for iptables would need the
kernel's legacy tables.
"""

import shutil
import socket
from collections.abc import Iterator

from testbed.errors import UnfitError
from testbed.lab.services.daemon import ADDRESS, DESCRIPTION, PORT, Daemon
from testbed.lab.services.watch import Question
from testbed.model.behaviour import Gateway
from testbed.model.lab import Command
from testbed.model.plan import Plan, ServePortMapping
from testbed.nat.rules import HTTP_PORT

PROGRAM = "miniupnpd"
PACKAGE = "miniupnpd-nftables"
# `-d` keeps it in the foreground and makes it talk: nobody listens.  Its pid file is where
# none can be made, and it goes on without: a daemon that ends takes the file away, and root's
# took away /dev/null.
NO_FILE = "/proc/none"
_COMMAND = f"exec {PROGRAM} -d -f /dev/stdin -P {NO_FILE} >/dev/null 2>&1"


class Miniupnpd(Daemon):
    """One router's daemon."""

    name = PROGRAM
    remedy = f"see what `{PROGRAM} -d` says to the configuration in the plan"

    def _command(self) -> Command:
        return ["sh", "-c", _COMMAND]

    def _questions(self) -> Iterator[Question]:
        lines = self._step.config.splitlines()
        if "enable_upnp=yes" in lines:
            yield Question(
                "UPnP", socket.SOCK_STREAM, self._inside(HTTP_PORT), DESCRIPTION, b"HTTP/1.0 200"
            )
        if "enable_natpmp=yes" in lines:
            yield Question("NAT-PMP", socket.SOCK_DGRAM, self._inside(PORT), ADDRESS, b"\0\x80")


def missing(plan: Plan) -> UnfitError | None:
    """Why a plan that asks for this daemon cannot have it on this machine."""
    steps = [s for s in plan.of(ServePortMapping) if s.gateway is Gateway.MINIUPNPD]
    if not steps or shutil.which(PROGRAM) is not None:
        return None
    remedy = f"apt-get install {PACKAGE}, or choose profiles with another gateway"
    return UnfitError(f"{PROGRAM!r} is not installed", node=steps[0].node, remedy=remedy)
