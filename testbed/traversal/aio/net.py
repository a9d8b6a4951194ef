"""What sockets share, and what the routing table says about our own addresses."""

import socket

from ..ip_scope import IpAddress

# Never contacted: connecting a UDP socket only consults the routing table.
_ANYWHERE = {"0.0.0.0": "8.8.8.8", "::": "2001:4860:4860::8888"}


def share_port(sock: socket.socket, shared: bool) -> None:
    """Whether others may bind its port, too.  Windows has no such option, and always lets them."""
    if (option := getattr(socket, "SO_REUSEPORT", None)) is not None:
        sock.setsockopt(socket.SOL_SOCKET, option, shared)


def route_source(host: str, port: int = 9) -> str | None:
    """The source IP that the kernel would use towards `host`; None without a route."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def is_own(ip: IpAddress) -> bool:
    """Whether the address is one of this machine's: then, and only then, it can be bound."""
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
        return True


def own_address(wildcard: str) -> str:
    """The address behind a wildcard bind: the default route's source, else loopback."""
    loopback = "::1" if ":" in wildcard else "127.0.0.1"
    return route_source(_ANYWHERE[wildcard]) or loopback
