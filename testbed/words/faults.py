"""Sentences about faults of the harness, and of peers that broke."""

from ipaddress import IPv4Network
from typing import assert_never

from testbed.model import fault as it
from testbed.model.address import MAIN, Route, Rule

_EVERYWHERE = IPv4Network("0.0.0.0/0")
_DIFFERENCES = {
    it.Difference.UNPLANNED_INTERFACE: "has an unplanned interface",
    it.Difference.MISSING_INTERFACE: "lacks its interface",
    it.Difference.UNPLANNED_ROUTE: "has an unplanned route",
    it.Difference.MISSING_ROUTE: "lacks its route",
    it.Difference.UNPLANNED_RULE: "has an unplanned rule of routing",
    it.Difference.MISSING_RULE: "lacks its rule of routing",
    it.Difference.RULES_CHANGED: "has other rules, or had for a while, in the table",
    it.Difference.NETWORK_CHANGED: "has another network, or had for a while:",
    it.Difference.SYSCTL_CHANGED: "has another setting,",
    it.Difference.STRANGE_PROCESS: "has a process that the lab did not start,",
}

_CLASHES = {
    it.Clash.HARNESS_BLAMED: "the explanation blames the harness, which the verdict had trusted",
    it.Clash.UNTROUBLED: "the verdict is inconclusive, and the explanation finds no trouble",
    it.Clash.WAY_UNKNOWN: "the verdict is direct, and the explanation does not find how",
    it.Clash.UNEXPLAINED: "all is as predicted, and the explanation does not find why",
    it.Clash.NAT_DENIED: "a NAT did what it was measured not to do: somebody changed the lab",
    it.Clash.NOT_TRIED: "nobody knows whether there is a way: a peer or a service gave up before",
    it.Clash.WAY_FOUND: "the explanation finds a direct way, and the verdict does not",
}

_ENDINGS = {
    it.Ending.UNREADY: "was not ready in time",
    it.Ending.DIED: "died before its end",
    it.Ending.STOPPED: "was stopped for a while",
    it.Ending.SILENT: "did not answer any more at its end",
}


_WORKERS = {it.Worker.PROBER: "the prober's process", it.Worker.CASE: "the worker"}


def sentence(fault: it.Fault) -> str:
    """What went wrong."""
    match fault:
        case it.LabDiffers():
            return f"after the run: {difference(fault)}"
        case it.FramesLost(link, direction, frames):
            return f"link {link} ({direction}) lost {frames} frames by itself"
        case it.CaptureLost(interface, packets):
            return f"the capture lost {packets} packets at {interface}"
        case it.Undelayed(node, server, measured_ms, planned_ms):
            return (
                f"a round trip from {node} to {server} took {measured_ms:.1f} ms, "
                f"the links were planned with {planned_ms:g} ms"
            )
        case it.Late(what, node, ms):
            late = "a link's frame" if what is it.Tardy.FRAME else f"{node}'s {what}"
            return f"{late} was {ms:.0f} ms late: this machine is too busy for so many cells"
        case it.PeerFailed(node, message, remedy, _):
            return _failed("peer", node, message, remedy)
        case it.Broke(phase, node, message, remedy):
            return _failed(phase, node, message, remedy)
        case it.Crashed() | it.Ended():
            return _ended(fault)
        case it.WayUnseen() | it.Contradicted() | it.ServiceFailed():
            return _unproven(fault)
    assert_never(fault)


def _ended(fault: it.Crashed | it.Ended) -> str:
    """How a process of the harness ended."""
    if isinstance(fault, it.Ended):
        return f"{_WORKERS[fault.worker]} ended without a result after {fault.seconds:.0f} s"
    where = f" (its folder has the traceback in {fault.kept})" if fault.kept else ""
    crashed = "the prober crashed: " if fault.worker is it.Worker.PROBER else ""
    return f"{crashed}{fault.error}{where}"


def _unproven(fault: it.WayUnseen | it.Contradicted | it.ServiceFailed) -> str:
    """Why the evidence proves nothing."""
    if isinstance(fault, it.ServiceFailed):
        why = f": {fault.why}" if fault.why else ""
        return f"{fault.service} at {fault.node} {_ENDINGS[fault.ending]}{why}"
    if isinstance(fault, it.Contradicted):
        return f"{_CLASHES[fault.clash]}{f' (at {fault.node})' if fault.node else ''}"
    return (
        f"bytes of {fault.source} arrived at {fault.target}, and the capture does not show "
        "their way across the NATs"
    )


def difference(fault: it.LabDiffers) -> str:
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
