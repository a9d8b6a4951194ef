"""How the gateway is asked for ports."""

from dataclasses import dataclass

from .mapping import Service


@dataclass(frozen=True)
class Probe:
    """A service to try, `head_start` seconds after the one before it, or when that has failed."""

    service: Service
    head_start: float = 0.0


@dataclass(frozen=True)
class PortMapOptions:
    """What is tried, in which order, and how long.  Times are seconds.

    `probes` are in the order of preference; either version of UPnP stands for both.  Once
    one has answered, better ones have `patience` to answer, too.  A lost mapping is asked
    for again after `retry`, each time twice as long as before up to `max_retry`.  After the
    gateway started anew we wait up to `recovery`, so that not all its hosts ask at once
    (RFC 6887 section 8.5).  `ports` are those to try instead of one that is taken, where the
    gateway does not choose itself.
    """

    probes: tuple[Probe, ...] = (
        Probe(Service.PCP),
        Probe(Service.NAT_PMP),
        Probe(Service.UPNP_V2, 0.25),
    )
    patience: float = 0.1
    probe_timeout: float = 4.0
    request_timeout: float = 10.0
    close_timeout: float = 3.0
    lifetime: int = 7200
    retry: float = 15.0
    max_retry: float = 600.0
    recovery: float = 5.0
    description: str = "testbed-traversal"
    ports: range = range(1024, 65536)
