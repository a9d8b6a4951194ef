"""Sentences about breaches."""

from typing import assert_never

from testbed.model.breach import (
    BeforeRelayed,
    Belated,
    Breach,
    Carried,
    Claim,
    ConnectedEarly,
    CountDisputed,
    DeviationGone,
    Disowned,
    FalseClaim,
    FateDiffers,
    GapDiffers,
    HitDisputed,
    LimitPassed,
    LossClaimed,
    LossUntold,
    NeverSent,
    NoPayload,
    NoRelayFirst,
    NotClient,
    NotCrossed,
    NothingLeft,
    OwnInitial,
    PlaceDiffers,
    PunchedEarly,
    RelayedUnseen,
    RelayKept,
    RelayUsed,
    RungClaimed,
    RungDiffers,
    StepMissing,
    StepsSwapped,
    StepUnseen,
    TooSlow,
    Tried,
    TriedLittle,
    UpgradeUntold,
)
from testbed.model.outcome import Outcome, Rung

_OfPunch = (
    StepMissing
    | StepsSwapped
    | PunchedEarly
    | StepUnseen
    | NothingLeft
    | NotCrossed
    | NotClient
    | OwnInitial
)
_OfRelay = (
    NoRelayFirst
    | UpgradeUntold
    | NoPayload
    | BeforeRelayed
    | RelayedUnseen
    | RelayKept
    | RelayUsed
    | Tried
)
_OfRung = RungDiffers | RungClaimed
_OfClaim = FalseClaim | Disowned | Carried | DeviationGone
_OfLife = FateDiffers | GapDiffers | PlaceDiffers | LossClaimed | LossUntold
_OfOdds = HitDisputed | CountDisputed | LimitPassed
_OfTime = ConnectedEarly | NeverSent | TriedLittle | Belated | TooSlow


def sentence(breach: Breach) -> str:
    """What was broken."""
    if isinstance(breach, _OfPunch):
        return _of_punch(breach)
    if isinstance(breach, _OfRelay):
        return _of_relay(breach)
    if isinstance(breach, _OfOdds):
        return _of_odds(breach)
    if isinstance(breach, _OfLife):
        return _of_life(breach)
    if isinstance(breach, _OfRung):
        return _of_rung(breach)
    if isinstance(breach, _OfTime):
        return _of_time(breach)
    return _of_claim(breach)


def _of_claim(breach: _OfClaim) -> str:
    match breach:
        case FalseClaim(node, outcome, shown, remark):
            return f"{_claims(node, outcome)}, the wire shows {shown} ({remark})"
        case Disowned(there, back, claims):
            return f"packets crossed both ways (packets {there} and {back}), and {_all(claims)}"
        case Carried(node, size):
            return (
                f"{node} passed {size} bytes to others through Redis, "
                "by the contract some 200 are due"
            )
        case DeviationGone(stack, name, link):
            return f"{stack} deviates no more: {name} ({link})"
    assert_never(breach)


def _of_rung(breach: _OfRung) -> str:
    match breach:
        case RungDiffers(predicted, measured):
            return f"rung: predicted {_rung(predicted)}, the wire shows {_rung(measured)}"
        case RungClaimed(node, claimed, measured):
            return f"rung: {node} claims {_rung(claimed)}, the wire shows {_rung(measured)}"
    assert_never(breach)


def _of_life(breach: _OfLife) -> str:
    match breach:
        case FateDiffers(seen, expected):
            return f"the connection's fate: predicted {expected}, the wire shows {seen}"
        case GapDiffers(seen, low, high):
            return f"the echo paused for {seen:.2f} s, predicted were {low:.2f} to {high:.2f} s"
        case PlaceDiffers(moved):
            place = "at another address than before" if moved else "where it was before"
            return f"the dialer is seen {place}, against the prediction"
        case LossClaimed(node):
            return f"{node} says that its connection was lost, the wire shows that it was not"
        case LossUntold(node):
            return f"{node} says nothing of a loss, the wire shows another connection"
    assert_never(breach)


def _of_time(breach: _OfTime) -> str:
    match breach:
        case ConnectedEarly(node, ms):
            return f"{node} says that it was connected {ms:.1f} ms before it was due to begin"
        case NeverSent(node):
            return f"{node} sent nothing: there was no attempt"
        case TriedLittle():
            return tried_little(breach)
        case Belated(what, node, ms):
            return f"{node}'s {what} was {ms:.0f} ms late, and this machine did not delay it"
        case TooSlow(took_s, within_s):
            return f"it took {took_s:.2f} s, and the world's file expects {within_s:g} s"
    assert_never(breach)


def tried_little(breach: TriedLittle) -> str:
    """How a peer gave up before there was a reason."""
    if breach.answered:
        return f"{breach.node} was answered by the server, and made nothing of it"
    return (
        f"{breach.node} gave up after {breach.tries} tries in {breach.seconds:.1f} s: "
        "the mechanism prescribes more"
    )


def _of_odds(breach: _OfOdds) -> str:
    match breach:
        case HitDisputed(run, told):
            hit = "a hit" if told else "no hit"
            return f"run {run}: {hit} by its sides, but not on the wire"
        case CountDisputed(run, told, seen):
            return f"run {run}: {told} packets by its sides' count, {seen} on the wire"
        case LimitPassed(sent, allowed):
            return f"{sent} packets of one side in a run, {allowed} allowed"
    assert_never(breach)


def _of_relay(breach: _OfRelay) -> str:
    match breach:
        case NoRelayFirst():
            return "no connection through one relay came first: the peers do not say so"
        case UpgradeUntold():
            return "a peer does not say that the connection was upgraded"
        case NoPayload():
            return "no payload went from peer to peer"
        case BeforeRelayed(node, packet):
            return f"{packet} came before {node}'s relayed connection"
        case RelayedUnseen(node, other, relay):
            return (
                f"no payload of {node} reached {other} through {relay} "
                "when the relayed connection was made"
            )
        case RelayKept(node, also):
            both = f"{node} and {also}" if also else node
            return f"{both} did not leave the relayed connection"
        case RelayUsed(node, other, relay, size):
            went = f"{size} bytes went from {node} to {other} through {relay}"
            return f"{went} after both had left it"
        case Tried(packet):
            return f"upgrades are off, and yet: {packet}"
    assert_never(breach)


def _of_punch(breach: _OfPunch) -> str:
    match breach:
        case StepMissing(node, step):
            return f"{node}'s {step} is missing"
        case StepsSwapped(node, step, other, other_step):
            return f"{node}'s {step} came before {other}'s {other_step}"
        case PunchedEarly(node, step):
            return f"{node} punched before {node}'s {step}"
        case StepUnseen(node, step, relay):
            return f"no packets through {relay} belong to {node}'s {step}"
        case NothingLeft(node, other, vantage):
            return f"{node} sent nothing towards {other} that left {vantage}"
        case NotCrossed(_, vantage, came, went):
            return f"not crossed at {vantage}: {came} came in before {went} went out"
        case NotClient():
            return f"{breach.node} is not the client: {_first(breach)}"
        case OwnInitial(node, packet):
            return f"{node} sent a QUIC Initial of its own: {packet}"
    assert_never(breach)


def _first(breach: NotClient) -> str:
    noise = breach.noise
    if noise is None:
        return "it sent no QUIC Initial"
    return f"its first Noise message has {noise.client} bytes, {breach.other}'s {noise.server}"


def _rung(rung: Rung | None) -> str:
    return rung.value if rung else "none"


def _claims(node: str, claimed: Outcome | None) -> str:
    return f"{node} claims {claimed or 'no direct connection'}"


def _all(claims: tuple[Claim, ...]) -> str:
    """What each peer says of a connection that not both claim."""
    if all(claim.outcome in (None, Outcome.NONE) for claim in claims):
        return "no connection is claimed"
    return "; ".join(f"{_claims(claim.node, claim.outcome)} ({claim.words})" for claim in claims)
