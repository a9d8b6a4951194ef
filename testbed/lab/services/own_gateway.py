"""The testbed's own gateway in a router of a lab: a fork of this process."""

import asyncio
import socket
import sys
from collections.abc import Iterator

from testbed.lab.services.daemon import ADDRESS, DESCRIPTION, PORT, Daemon
from testbed.lab.services.gateway import pcp
from testbed.lab.services.gateway.kernel import NAMES
from testbed.lab.services.gateway.serve import serve
from testbed.lab.services.gateway.settings import read
from testbed.lab.services.watch import Question
from testbed.model.lab import Command

# Version 2, ANNOUNCE, and a client that is not the one who asks: the answer is an error.
_PCP = bytes([pcp.VERSION]) + bytes(23)


def _serve() -> int:
    asyncio.run(serve(read(sys.stdin.read())))
    return 0


class OwnGateway(Daemon):
    """One router's gateway."""

    name = "the testbed's gateway"
    remedy = "see the settings of the service in `testbed plan`"

    def _command(self) -> Command:
        return _serve

    def forget(self) -> None:
        """Take its rules away, and the NAT's note of which ports they hold."""
        super().forget()
        if reserved := read(self._step.config).reserved:
            text = "\n".join(f"flush set {reserved} mapped_{name}" for name in NAMES.values())
            self._lab.run(self._step.node, ["nft", "-f", "-"], input=text.encode())

    def _questions(self) -> Iterator[Question]:
        settings = read(self._step.config)
        if settings.upnp_igd:
            port = settings.http_port
            yield Question(
                "UPnP", socket.SOCK_STREAM, self._inside(port), DESCRIPTION, b"HTTP/1.1 200"
            )
        if settings.nat_pmp:
            yield Question("NAT-PMP", socket.SOCK_DGRAM, self._inside(PORT), ADDRESS, b"\0\x80")
        if settings.pcp:
            yield Question(
                "PCP", socket.SOCK_DGRAM, self._inside(PORT), _PCP, bytes([pcp.VERSION, 128])
            )
