"""Sentences about predictions: why it ends so."""

from typing import assert_never

from testbed.model import reason as it
from testbed.model.outcome import Outcome
from testbed.words.packets import loss, note, starred
from testbed.words.packets import swallows as _swallows

_NOTHING_BETWEEN = "no NAT or filter stands between them"
_SILENCES = {
    it.Silence.NONE_REACHED: "no packet of one reached the other before the deadline",
    it.Silence.NO_OPENING: "no opening was answered in {attempts} attempts",
    it.Silence.NO_CHECK: "no check between the peers was answered",
}


def sentence(reason: it.Reason) -> str:
    """Why it ends as predicted."""
    return starred(_sentence(reason), reason)


def _sentence(reason: it.Reason) -> str:
    match reason:
        case it.Raced(inner, race, ahead_ms):
            others = " or ".join(race)
            return f"{_sentence(inner)}. A race: {others}, if one side is {ahead_ms:g} ms ahead"
        case it.ByChance(inner, sure, chances):
            ends = [one for one in Outcome if chances.count(one)]
            without = f"without loss and jitter {sure}: {_sentence(inner)}"
            if chances.borrowed:
                said = f"by chance {' or '.join(ends)}, as {chances.runs} runs of the model end"
                return f"{said}; the stack has times of its own, and so no rate is known; {without}"
            said = ", ".join(f"{one} {chances.rate(one):.3f}" for one in ends)
            return f"by chance {said}, as {chances.runs} runs of the model say; {without}"
        case it.Deviates(inner, stack, name, date):
            return f"{_sentence(inner)}; but {stack}: {name} ({date})"
        case it.Stated(model, inner, within_s):
            by_when = "" if within_s is None else f" within {within_s:g} s"
            told = f"the model says {model}: {_sentence(inner)}"
            return f"the world's file expects it{by_when}; {told}"
        case it.Swallowed(inner, by, origin, target, length, largest):
            echoed = f"the echo's packets of {length} bytes vanish from {origin} to {target}"
            return f"connected, {by}: {_sentence(inner)}. But {echoed}: {_swallows(largest)}"
        case it.Climbed(rung, passed, attempt):
            tried = "" if attempt is None else f" in attempt {attempt}"
            return f"{rung}{tried}: {_sentence(passed)}"
        case it.NotEvenRelayed(inner, lacks):
            return ". ".join([_sentence(inner), *map(_lack, lacks)])
        case it.Lost(ways, silence, attempts):
            return ". ".join(map(_way, ways)) or _SILENCES[silence].format(attempts=attempts)
        case _:
            return _plain(reason)


def _plain(
    reason: it.NobodySends
    | it.Unlearned
    | it.Unobserved
    | it.Unrelayed
    | it.UpgradesOff
    | it.DirectOff
    | it.Passed
    | it.CheckAnswered,
) -> str:
    match reason:
        case it.NobodySends(dialer, listener):
            return f"neither {dialer} nor {listener} sends anything"
        case it.Unlearned(host, protocol, why):
            return f"{host} learns no mapped {protocol} address: {loss(why)}"
        case it.Unrelayed(losses):
            return ". ".join(
                f"{host} does not reach the relay: {loss(why)}" for host, why in losses
            )
        case it.Unobserved(host, observer, why):
            return f"{host} does not reach {observer}, and ends its gathering: {loss(why)}"
        case it.UpgradesOff():
            return "upgrades are switched off"
        case it.DirectOff():
            return "direct paths are switched off"
        case it.Passed(origin, notes):
            through = f"{origin} gets through: {'; '.join(map(note, notes))}"
            return through if notes else _NOTHING_BETWEEN
        case it.CheckAnswered(remote, notes):
            answered = f"the check of {remote} is answered: {'; '.join(map(note, notes))}"
            return answered if notes else f"a host candidate is reachable: {_NOTHING_BETWEEN}"
    assert_never(reason)


def _way(way: it.WayLost | it.Unlearned) -> str:
    if isinstance(way, it.Unlearned):
        return _sentence(way)
    return f"{way.origin} to {way.target}: {loss(way.loss)}"


def _lack(lack: it.NoRelay | it.GaveUp) -> str:
    if isinstance(lack, it.GaveUp):
        return f"{lack.host} gave up pairs, and checks none of them again"
    return f"{lack.host} reaches no relay: {loss(lack.loss)}"
