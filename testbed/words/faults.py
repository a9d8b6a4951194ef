"""Sentences about faults of the harness, and of peers that broke."""

from ipaddress import IPv4Network
from typing import assert_never

from testbed.model.address import MAIN, Route, Rule
from testbed.model.fault import (
    Broke,
    CaptureLost,
    Clash,
    Contradicted,
    Difference,
    Ending,
    Fault,
    FramesLost,
    LabDiffers,
    Late,
    PeerFailed,
    ServiceFailed,
    Tardy,
    Undelayed,
    WayUnseen,
)

_EVERYWHERE = IPv4Network("0.0.0.0/0")
_DIFFERENCES = {
    Difference.UNPLANNED_INTERFACE: "has an unplanned interface",
    Difference.MISSING_INTERFACE: "lacks its interface",
    Difference.UNPLANNED_ROUTE: "has an unplanned route",
    Difference.MISSING_ROUTE: "lacks its route",
    Difference.UNPLANNED_RULE: "has an unplanned rule of routing",
    Difference.MISSING_RULE: "lacks its rule of routing",
    Difference.RULES_CHANGED: "has other rules, or had for a while, in the table",
    Difference.NETWORK_CHANGED: "has another network, or had for a while:",
    Difference.SYSCTL_CHANGED: "has another setting,",
    Difference.STRANGE_PROCESS: "has a process that the lab did not start,",
}

_CLASHES = {
    Clash.HARNESS_BLAMED: "the explanation blames the harness, which the verdict had trusted",
    Clash.UNTROUBLED: "the verdict is inconclusive, and the explanation finds no trouble",
    Clash.WAY_UNKNOWN: "the verdict is direct, and the explanation does not find how",
    Clash.NAT_DENIED: "a NAT did what it was measured not to do: somebody changed the lab",
    Clash.NOT_TRIED: "nobody knows whether there is a way: a peer or a service gave up before",
    Clash.WAY_FOUND: "the explanation finds a direct way, and the verdict does not",
}

_ENDINGS = {
    Ending.DIED: "died before its end",
    Ending.STOPPED: "was stopped for a while",
    Ending.SILENT: "did not answer any more at its end",
}


def sentence(fault: Fault) -> str:
    """What went wrong."""
    match fault:
        case LabDiffers():
            return f"after the run: {difference(fault)}"
        case FramesLost(link, direction, frames):
            return f"link {link} ({direction}) lost {frames} frames by itself"
        case CaptureLost(interface, packets):
            return f"the capture lost {packets} packets at {interface}"
        case Undelayed(node, server, measured_ms, planned_ms):
            return (
                f"a round trip from {node} to {server} took {measured_ms:.1f} ms, "
                f"the links were planned with {planned_ms:g} ms"
            )
        case Late(what, node, ms):
            late = "a link's frame" if what is Tardy.FRAME else f"{node}'s {what}"
            return f"{late} was {ms:.0f} ms late: this machine is too busy for so many cells"
        case PeerFailed(node, message, remedy, _):
            return _failed("peer", node, message, remedy)
        case Broke(phase, node, message, remedy):
            return _failed(phase, node, message, remedy)
        case WayUnseen() | Contradicted() | ServiceFailed():
            return _unproven(fault)
    assert_never(fault)


def _unproven(fault: WayUnseen | Contradicted | ServiceFailed) -> str:
    """Why the evidence proves nothing."""
    if isinstance(fault, ServiceFailed):
        return f"{fault.service} at {fault.node} {_ENDINGS[fault.ending]}"
    if isinstance(fault, Contradicted):
        return f"{_CLASHES[fault.clash]}{f' (at {fault.node})' if fault.node else ''}"
    return (
        f"bytes of {fault.source} arrived at {fault.target}, and the capture does not show "
        "their way across the NATs"
    )


def difference(fault: LabDiffers) -> str:
    """How one node is not as planned."""
    match fault.what:
        case Route():
            what = _route(fault.what)
        case Rule(source, table):
            what = f"from {source} by table {table}"
        case str():
            what = fault.what
    return f"{fault.node} {_DIFFERENCES[fault.difference]} {what}"


def _route(route: Route) -> str:
    table = f" in table {route.table}" if route.table != MAIN else ""
    return f"{_where(route)}{f' with metric {route.metric}' if route.metric else ''}{table}"


def _where(route: Route) -> str:
    if route.blackhole:
        return f"to {route.destination}, a blackhole"
    everywhere = route.destination == _EVERYWHERE
    target = "to everywhere" if everywhere else f"to {route.destination}"
    return f"{target} via {route.gateway}" if route.gateway else f"{target} on the link"


def _failed(phase: str | None, node: str | None, message: str, remedy: str | None) -> str:
    """As `testbed.errors` has it."""
    where = f"{phase} [{node}]: " if node else f"{phase}: " if phase else ""
    return f"{where}{message}" + (f"\n  remedy: {remedy}" if remedy else "")
