"""Sentences about what is claimed of relaying."""

from testbed.model.swarming import Claim, ClaimKind

_CLAIMED = {
    ClaimKind.BANDWIDTH: "Relaying costs the relays' bandwidth",
    ClaimKind.LATENCY: "Relaying adds latency",
    ClaimKind.INCENTIVE: "Nobody has an incentive to relay",
    ClaimKind.LIMITS: "Relays' limits end what is not upgraded",
}
_VERDICTS = {True: "true", False: "not seen", None: "packets cannot tell"}


def sentence(claim: Claim) -> str:
    """Whether it is true, by which factor, and where."""
    where = f"{claim.population}, {claim.stack}, {claim.peers} peers"
    told = f"{_CLAIMED[claim.kind]}: {_VERDICTS[claim.holds]}"
    if claim.kind is ClaimKind.INCENTIVE:
        told += f"; {_unpaid(claim)}"
    elif claim.factor is not None:
        told += f", by a factor of {claim.factor:.1f}"
    return f"{told} ({where}: {_figures(claim)})"


def _unpaid(claim: Claim) -> str:
    """What relays give, as it is printed: a factor of 1.0 is no difference."""
    factor = f"{claim.factor or 1.0:.1f}"
    if factor == "1.0":
        return "relays give as much, unpaid, without upgrades as with them"
    if claim.relayed < claim.upgraded:
        return f"relays give less, unpaid, without upgrades, by a factor of {factor}"
    return f"relays give more, unpaid, without upgrades, by a factor of {factor}"


def _figures(claim: Claim) -> str:
    if claim.kind is ClaimKind.BANDWIDTH:
        return f"{claim.relayed:.1f} MB pass without upgrades, {claim.upgraded:.1f} MB with them"
    if claim.kind is ClaimKind.INCENTIVE:
        off, on = (_given(claim, place) for place in (0, 1))
        return f"{off} for each peer without upgrades, {on} with them"
    if claim.kind is ClaimKind.LIMITS:
        left = f"{claim.relayed:.0f} of {claim.pairs} pairs do not get their work done"
        return f"{left} without upgrades, {claim.upgraded:.0f} with them"
    of = f"the {claim.pairs} pairs that go direct"
    return f"{claim.relayed:.0f} ms by the relay, {claim.upgraded:.0f} ms afterwards, of {of}"


def _given(claim: Claim, place: int) -> str:
    given = f"{(claim.relayed, claim.upgraded)[place]:.0f} kB"
    return f"{given} and {claim.cpu_ms[place]:.0f} ms of processor time" if claim.cpu_ms else given
