"""Sentences about what is claimed of relaying."""

from testbed.model.swarming import Claim, ClaimKind

_CLAIMED = {
    ClaimKind.BANDWIDTH: "Relaying costs the relays' bandwidth",
    ClaimKind.LATENCY: "Relaying adds latency",
}


def sentence(claim: Claim) -> str:
    """Whether it is true, by which factor, and where."""
    verdict = "true" if claim.holds else "not seen"
    where = f"{claim.population}, {claim.stack}, {claim.peers} peers"
    said = f"{_CLAIMED[claim.kind]}: {verdict}, by a factor of {claim.factor:.1f}"
    return f"{said} ({where}: {_figures(claim)})"


def _figures(claim: Claim) -> str:
    if claim.kind is ClaimKind.BANDWIDTH:
        return f"{claim.relayed:.1f} MB pass without upgrades, {claim.upgraded:.1f} MB with them"
    of = f"the {claim.pairs} pairs that go direct"
    return f"{claim.relayed:.0f} ms by the relay, {claim.upgraded:.0f} ms afterwards, of {of}"
