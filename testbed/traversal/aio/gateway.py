"""The default gateway, our address towards it, and when either may have changed (Linux)."""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from ..portmap.mapping import NoGatewayError
from .net import route_source

# not /proc/net, which shows the namespace of the main thread, whatever that of this one is
ROUTES = Path("/proc/thread-self/net/route")
_RTF_UP, _RTF_GATEWAY = 1, 2  # linux/route.h
_NETLINK_GROUPS = 0x1 | 0x10 | 0x40  # linux/rtnetlink.h: link, IPv4 address, IPv4 route


@dataclass(frozen=True)
class Uplink:
    """The router to ask, and the address that it knows us by."""

    gateway: IPv4Address
    local: IPv4Address


def default_gateway(table: str) -> IPv4Address | None:
    """The gateway of the default route with the least metric; None where there is none.

    `table` is the text of `ROUTES`; NoGatewayError where it is none.
    """
    routes: list[tuple[int, IPv4Address]] = []
    try:
        for line in table.splitlines()[1:]:
            _, destination, gateway, flags, _, _, metric, mask, *_ = line.split()
            up = int(flags, 16) & (_RTF_UP | _RTF_GATEWAY) == _RTF_UP | _RTF_GATEWAY
            if up and int(destination, 16) == int(mask, 16) == 0:
                # the kernel prints the four bytes as one number of its own byte order
                address = IPv4Address(struct.pack("=I", int(gateway, 16)))
                routes.append((int(metric), address))
    except (ValueError, struct.error) as error:
        raise NoGatewayError(f"{ROUTES} is not understood: {error}") from error
    return min(routes)[1] if routes else None


def uplink(gateway: IPv4Address | None = None) -> Uplink:
    """As the routing table has it now; `gateway` names another router.  NoGatewayError."""
    if gateway is None:
        gateway = default_gateway(_routes())
    if gateway is None:
        raise NoGatewayError("there is no default route")
    local = route_source(str(gateway))
    if local is None:
        raise NoGatewayError(f"there is no route to {gateway}")
    return Uplink(gateway, IPv4Address(local))


def _routes() -> str:
    try:
        return ROUTES.read_text(encoding="utf-8")
    except OSError as error:
        why = "this system does not tell its routes: name the gateway"
        raise NoGatewayError(why) from error


@contextlib.contextmanager
def watch(changed: Callable[[], None]) -> Iterator[None]:
    """Call `changed` whenever the kernel tells of a link, an address or a route.

    What the messages say is not read: whoever is called looks for itself.  Only Linux tells.
    """
    if sys.platform != "linux":
        yield
        return
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.setblocking(False)
        netlink.bind((0, _NETLINK_GROUPS))

        def read() -> None:
            with contextlib.suppress(OSError):  # ENOBUFS: some were lost, one is enough
                while netlink.recv(65536):
                    pass
            changed()

        loop.add_reader(netlink, read)
        try:
            yield
        finally:
            loop.remove_reader(netlink)
