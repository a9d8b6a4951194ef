"""What the routing table says about our own addresses."""

import socket

# Never contacted: connecting a UDP socket only consults the routing table.
_ANYWHERE = {"0.0.0.0": "8.8.8.8", "::": "2001:4860:4860::8888"}


def route_source(host: str, port: int = 9) -> str | None:
    """The source IP that the kernel would use towards `host`; None without a route."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def own_address(wildcard: str) -> str:
    """The address behind a wildcard bind: the default route's source, else loopback."""
    loopback = "::1" if ":" in wildcard else "127.0.0.1"
    return route_source(_ANYWHERE[wildcard]) or loopback
