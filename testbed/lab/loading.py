"""Rules into a router: the tools that load them, and what their refusal means.

A tool that refuses a text will refuse it in every lab of this machine: that is told once,
with the tool's version, and not once a cell.  A load that fails at one moment and would
succeed at the next is a fault of its lab alone.  The tool is therefore asked again.
"""

from collections.abc import Callable, Sequence

from testbed.errors import BackendError, TestbedError, UnfitError
from testbed.model.plan import Engine, LoadRules, Plan

LOADERS = {
    Engine.NFTABLES: ("nft", "-f", "-"),
    Engine.IPTABLES: ("iptables-restore", "-w", "5"),
}
REMEDIES = {
    Engine.NFTABLES: "the rules are tested with nft 1.0.6 to 1.1.7 and a kernel with nf_tables NAT",
    Engine.IPTABLES: "the rules are tested with iptables 1.8.9 to 1.8.13 (nf_tables)"
    " and a kernel with xtables and nft_compat",
}
_CHECKERS = {
    Engine.NFTABLES: ("nft", "-c", "-f", "-"),
    Engine.IPTABLES: ("iptables-restore", "-w", "5", "--test"),
}

Run = Callable[[Sequence[str], bytes], tuple[int, str]]
"""Runs a program in the router, with an input; its exit code, and what it printed."""


class RefusedRulesError(UnfitError):
    """A router's tool refuses its rules: ``said`` is its version, ``complaint`` its words."""

    def __init__(self, step: LoadRules, profile: str, said: str, complaint: str) -> None:
        super().__init__(
            f"{said} refuses the rules of profile {profile}: {brief(complaint)}",
            node=step.node,
            remedy=f"{REMEDIES[step.engine]}; `testbed doctor` tries those of every profile",
        )
        self.said = said
        self.complaint = complaint


def not_loaded(plan: Plan, step: LoadRules, complaint: str, run: Run) -> TestbedError:
    """The error for rules that did not load, for the reason that the tool gave."""
    again, words = run(_CHECKERS[step.engine], step.text.encode())
    if not again:
        return BackendError(f"{step.engine} rules: {brief(complaint)}", node=step.node)
    _, said = run((LOADERS[step.engine][0], "--version"), b"")
    router = next(one for one in plan.topology.routers if one.name == step.node)
    return RefusedRulesError(step, router.profile, said.strip(), words.strip())


def brief(complaint: str) -> str:
    """The first complaint of a tool: its message, and the line that it cites."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return ": ".join(lines[:2])
