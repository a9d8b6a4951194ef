"""Sentences about predictions: why it ends so."""

from typing import assert_never

from testbed.model.outcome import Outcome
from testbed.model.reason import (
    ByChance,
    CheckAnswered,
    Climbed,
    Deviates,
    DirectOff,
    GaveUp,
    Lost,
    NobodySends,
    NoRelay,
    NotEvenRelayed,
    Passed,
    Raced,
    Reason,
    Silence,
    Stated,
    Unlearned,
    Unobserved,
    Unrelayed,
    UpgradesOff,
    WayLost,
)
from testbed.words.packets import loss, note, starred

_NOTHING_BETWEEN = "no NAT or filter stands between them"
_SILENCES = {
    Silence.NONE_REACHED: "no packet of one reached the other before the deadline",
    Silence.NO_OPENING: "no opening was answered in {attempts} attempts",
    Silence.NO_CHECK: "no check between the peers was answered",
}


def sentence(reason: Reason) -> str:
    """Why it ends as predicted."""
    return starred(_sentence(reason), reason)


def _sentence(reason: Reason) -> str:
    match reason:
        case Raced(inner, race, ahead_ms):
            others = " or ".join(race)
            return f"{_sentence(inner)}. A race: {others}, if one side is {ahead_ms:g} ms ahead"
        case ByChance(inner, sure, chances):
            ends = [one for one in Outcome if chances.count(one)]
            said = ", ".join(f"{one} {chances.rate(one):.3f}" for one in ends)
            without = f"without loss and jitter {sure}: {_sentence(inner)}"
            return f"by chance {said}, as {chances.runs} runs of the model say; {without}"
        case Deviates(inner, stack, name, date):
            return f"{_sentence(inner)}; but {stack}: {name} ({date})"
        case Stated(model, inner, within_s):
            by_when = "" if within_s is None else f" within {within_s:g} s"
            told = f"the model says {model}: {_sentence(inner)}"
            return f"the world's file expects it{by_when}; {told}"
        case Climbed(rung, passed, attempt):
            tried = "" if attempt is None else f" in attempt {attempt}"
            return f"{rung}{tried}: {_sentence(passed)}"
        case NotEvenRelayed(inner, lacks):
            return ". ".join([_sentence(inner), *map(_lack, lacks)])
        case Lost(ways, silence, attempts):
            return ". ".join(map(_way, ways)) or _SILENCES[silence].format(attempts=attempts)
        case _:
            return _plain(reason)


def _plain(
    reason: NobodySends
    | Unlearned
    | Unobserved
    | Unrelayed
    | UpgradesOff
    | DirectOff
    | Passed
    | CheckAnswered,
) -> str:
    match reason:
        case NobodySends(dialer, listener):
            return f"neither {dialer} nor {listener} sends anything"
        case Unlearned(host, protocol, why):
            return f"{host} learns no mapped {protocol} address: {loss(why)}"
        case Unrelayed(losses):
            return ". ".join(
                f"{host} does not reach the relay: {loss(why)}" for host, why in losses
            )
        case Unobserved(host, observer, why):
            return f"{host} does not reach {observer}, and ends its gathering: {loss(why)}"
        case UpgradesOff():
            return "upgrades are switched off"
        case DirectOff():
            return "direct paths are switched off"
        case Passed(origin, notes):
            through = f"{origin} gets through: {'; '.join(map(note, notes))}"
            return through if notes else _NOTHING_BETWEEN
        case CheckAnswered(remote, notes):
            answered = f"the check of {remote} is answered: {'; '.join(map(note, notes))}"
            return answered if notes else f"a host candidate is reachable: {_NOTHING_BETWEEN}"
    assert_never(reason)


def _way(way: WayLost | Unlearned) -> str:
    if isinstance(way, Unlearned):
        return _sentence(way)
    return f"{way.origin} to {way.target}: {loss(way.loss)}"


def _lack(lack: NoRelay | GaveUp) -> str:
    if isinstance(lack, GaveUp):
        return f"{lack.host} gave up pairs, and checks none of them again"
    return f"{lack.host} reaches no relay: {loss(lack.loss)}"
