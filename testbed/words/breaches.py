"""Sentences about breaches."""

from collections.abc import Callable, Mapping
from typing import Any

from testbed.model import breach as it
from testbed.model.outcome import Outcome, Rung
from testbed.model.saying import Saying
from testbed.words import sayings


def sentence(breach: it.Breach) -> str:
    """What was broken."""
    words = WORDS[type(breach)]
    return words.format_map(vars(breach)) if isinstance(words, str) else words(breach)


def tried_little(breach: it.TriedLittle) -> str:
    """How a peer gave up before there was a reason."""
    if breach.answered:
        return f"{breach.node} was answered by the server, and made nothing of it"
    return (
        f"{breach.node} gave up after {breach.tries} tries in {breach.seconds:.1f} s: "
        "the mechanism prescribes more"
    )


def _false_claim(breach: it.FalseClaim) -> str:
    shown = f"the wire shows {breach.measured}{_said(breach.said)}"
    return f"{_claims(breach.node, breach.claimed)}, {shown}"


def _said(said: Saying | None) -> str:
    return "" if said is None else f" ({sayings.sentence(said)})"


def _disowned(breach: it.Disowned) -> str:
    ways = f"packets {breach.there} and {breach.back}"
    return f"packets crossed both ways ({ways}), and {_all(breach.claims)}"


def _rung_differs(breach: it.RungDiffers) -> str:
    predicted, measured = _rung(breach.predicted), _rung(breach.measured)
    return f"rung: predicted {predicted}, the wire shows {measured}"


def _rung_claimed(breach: it.RungClaimed) -> str:
    claimed, measured = _rung(breach.claimed), _rung(breach.measured)
    return f"rung: {breach.node} claims {claimed}, the wire shows {measured}"


def _receipt_disputed(breach: it.ReceiptDisputed) -> str:
    one = breach.carriage
    receipt = f"the receipt of contract {one.contract[:12]} is for {one.up} bytes up"
    if one.seen_up is None:
        return f"{receipt} and {one.down} down, and no packet could be opened that shows them"
    shown = f"the packets show {one.seen_up} up and {one.seen_down} down"
    return f"{receipt} and {one.down} down, {shown}"


def _cheat_proven(breach: it.CheatProven) -> str:
    one = breach.proven
    return f"{one.accused} {one.cheat}, as is proven of contract {one.contract[:12]}"


def _place_differs(breach: it.PlaceDiffers) -> str:
    place = "at another address than before" if breach.moved else "where it was before"
    return f"the dialer is seen {place}, against the prediction"


def _unfounded(breach: it.Unfounded) -> str:
    node, remote = breach.node, breach.remote
    if breach.ms is None:
        return f"{node} says that it is connected to {remote}, from where nothing came"
    return f"{node} says that it was connected to {remote} {breach.ms:.1f} ms before it heard of it"


def _nonce_unheard(breach: it.NonceUnheard) -> str:
    what = "something else than the nonce" if breach.heard else "nothing of the nonce"
    return f"{breach.node} heard {what} that the echo began with"


def _hit_disputed(breach: it.HitDisputed) -> str:
    hit = "a hit" if breach.told else "no hit"
    return f"run {breach.run}: {hit} by its sides, but not on the wire"


def _relay_kept(breach: it.RelayKept) -> str:
    both = f"{breach.node} and {breach.other}" if breach.other else breach.node
    return f"{both} did not leave the relayed connection"


def _not_client(breach: it.NotClient) -> str:
    noise, why = breach.noise, "it sent no QUIC Initial"
    if noise is not None:
        other = f"{breach.other}'s {noise.server}"
        why = f"its first Noise message has {noise.client} bytes, {other}"
    return f"{breach.node} is not the client: {why}"


def _rung(rung: Rung | None) -> str:
    return rung.value if rung else "none"


def _claims(node: str, claimed: Outcome | None) -> str:
    return f"{node} claims {claimed or 'no direct connection'}"


def _all(claims: tuple[it.Claim, ...]) -> str:
    """What each peer says of a connection that not both claim."""
    if all(claim.outcome in (None, Outcome.NONE) for claim in claims):
        return "no connection is claimed"
    return "; ".join(_claims(claim.node, claim.outcome) + _said(claim.said) for claim in claims)


# A text has the names of the breach's fields in braces.
WORDS: Mapping[type[it.Breach], str | Callable[[Any], str]] = {
    it.NoRelayFirst: "no connection through one relay came first: the peers do not say so",
    it.UpgradeUntold: "a peer does not say that the connection was upgraded",
    it.NoPayload: "no payload went from peer to peer",
    it.BeforeRelayed: "{packet} came before {node}'s relayed connection",
    it.RelayedUnseen: (
        "no payload of {node} reached {other} through {relay} when the relayed connection was made"
    ),
    it.StepMissing: "{node}'s {step} is missing",
    it.StepsSwapped: "{node}'s {step} came before {other}'s {other_step}",
    it.PunchedEarly: "{node} punched before {node}'s {step}",
    it.StepUnseen: "no packets through {relay} belong to {node}'s {step}",
    it.NothingLeft: "{node} sent nothing towards {other} that left {vantage}",
    it.NotCrossed: "not crossed at {vantage}: {came} came in before {went} went out",
    it.NotClient: _not_client,
    it.OwnInitial: "{node} sent a QUIC Initial of its own: {packet}",
    it.RelayKept: _relay_kept,
    it.RelayUsed: (
        "{size} bytes went from {node} to {other} through {relay} after both had left it"
    ),
    it.Tried: "upgrades are off, and yet: {packet}",
    it.RungDiffers: _rung_differs,
    it.RungClaimed: _rung_claimed,
    it.FalseClaim: _false_claim,
    it.Disowned: _disowned,
    it.Carried: (
        "{node} passed {size} bytes to others through Redis, by the contract some 200 are due"
    ),
    it.ConnectedEarly: "{node} says that it was connected {ms:.1f} ms before it was due to begin",
    it.Unfounded: _unfounded,
    it.NonceUnheard: _nonce_unheard,
    it.ReceiptDisputed: _receipt_disputed,
    it.CheatProven: _cheat_proven,
    it.WorthlessStatements: "{node} shows {count} statements that nobody's signature stands behind",
    it.NeverSent: "{node} sent nothing: there was no attempt",
    it.TriedLittle: tried_little,
    it.Belated: "{node}'s {what} was {ms:.0f} ms late, and this machine did not delay it",
    it.TooSlow: "it took {took_s:.2f} s, and the world's file expects {within_s:g} s",
    it.DeviationGone: "{stack} deviates no more: {name} ({link})",
    it.HitDisputed: _hit_disputed,
    it.CountDisputed: "run {run}: {told} packets by its sides' count, {seen} on the wire",
    it.LimitPassed: "{sent} packets of one side in a run, {allowed} allowed",
    it.FateDiffers: "the connection's fate: predicted {expected}, the wire shows {seen}",
    it.GapDiffers: "the echo paused for {seen:.2f} s, predicted were {low:.2f} to {high:.2f} s",
    it.PlaceDiffers: _place_differs,
    it.LossClaimed: "{node} says that its connection was lost, the wire shows that it was not",
    it.LossUntold: "{node} says nothing of a loss, the wire shows another connection",
    it.PathDiffers: "{pair}: predicted {predicted}, the wire shows {measured}",
    it.ShareDiffers: (
        "{direct} of {pairs} pairs went direct, {foreseen[0]} to {foreseen[1]} were foreseen"
    ),
    it.BytesDiffer: (
        "{passed} bytes passed the relays, {foreseen[0]} to {foreseen[1]} were foreseen"
    ),
    it.WorkDiffers: "{pair}: {done} of {asked} bytes came back, against its relay's limits",
    it.CountersDiffer: (
        "{relay}: {recorded[0]} frames of {recorded[1]} bytes were recorded, its kernel counted "
        "{counted[0]} of {counted[1]}"
    ),
}
