"""The study of life: what becomes of a direct path when something happens to it."""

from collections.abc import Iterator

from testbed.errors import TestbedError, UnfitError
from testbed.model.breach import (
    Breach,
    FateDiffers,
    GapDiffers,
    LossClaimed,
    LossUntold,
    PlaceDiffers,
)
from testbed.model.details import Expectation, LifeDetails, LifeSeen
from testbed.model.failure import fault_of
from testbed.model.life import Fate, Transport
from testbed.model.result import Result
from testbed.model.verdict import Judgement, KeptByChance, Tardy, TooBusy
from testbed.predict.life import Expected
from testbed.studies import base
from testbed.studies.base import Site, Study
from testbed.studies.life.case import LifeCase
from testbed.studies.life.explaining import explained
from testbed.studies.life.run import TOO_LATE, Led, lead
from testbed.words import Fact, sentence

TOO_SLOW = 0.3  # seconds that a fault may take longer than planned
MARGIN = 0.5  # seconds by which a silence has to be longer than the NAT's timer


def run(case: LifeCase, site: Site) -> Result:
    """Lead one life and judge it."""
    expected = case.expected()
    try:
        led = lead(case, expected, site)
    except UnfitError:
        raise
    except TestbedError as error:
        return judged(case, expected, None, site, error)
    return judged(case, expected, led, site)


def breaches(led: Led, expected: Expected, transport: Transport, dialer: str) -> Iterator[Breach]:
    """How wire and model, or wire and the host ``dialer``, differ.

    Where a lost connection would have gone is seen of datagrams alone: a stack that gave it up
    sends no more echo.
    """
    seen = led.seen
    if not expected.admits(seen.fate):
        yield FateDiffers(seen.fate, expected.fate)
    elif expected.fate is not Fate.LOST:
        high = expected.high + 2 * led.slow  # what a fault took too long is not the stack's
        if not expected.low <= seen.gap <= high:
            yield GapDiffers(round(seen.gap, 3), round(expected.low, 3), round(high, 3))
    goes_on = seen.fate is not Fate.LOST or transport is Transport.UDP
    known = goes_on and not expected.stated and seen.moved is not None
    if known and seen.moved is not expected.moved:
        yield PlaceDiffers(bool(seen.moved))
    if led.said_lost and seen.fate is Fate.SURVIVES:
        yield LossClaimed(dialer)
    if not led.said_lost and seen.fate in (Fate.DIRECT, Fate.RELAYED):
        yield LossUntold(dialer)


def judged(
    case: LifeCase,
    expected: Expected,
    led: Led | None,
    site: Site,
    error: TestbedError | None = None,
) -> Result:
    """The result of a case; ``led`` is None where ``error`` kept it from being led.

    A machine too busy casts a doubt: it leaves an agreement alone, and makes a difference
    inconclusive.
    """
    dialer = case.topology.roles.a
    found = tuple(breaches(led, expected, case.transport, dialer)) if led else ()
    busy = led is not None and _busy(case, led)
    judgement = Judgement.FAIL if found else Judgement.PASS
    if led is None or (found and busy):
        judgement = Judgement.INCONCLUSIVE
    because: list[Fact] = [*found, *([fault_of(error)] if error else [])]
    if led is not None and judgement is Judgement.INCONCLUSIVE:
        late = TooBusy(Tardy.LIFE, max(led.busy, led.slow))
        because.append(KeptByChance(led.idle) if _kept_by_chance(case, led) else late)
    return base.judged(
        "life",
        case,
        site.folder,
        led.seen.fate.value if led else None,
        expected.fate.value,
        judgement=judgement,
        details=_details(case, expected, led, sentence(expected.why)),
        because=because or [expected.why],
        findings=tuple(map(sentence, found)),
        finding_values=found,
        packets_cited=led.seen.cited if led else (),
        packets=led.packets if led else 0,
        late=judgement is Judgement.INCONCLUSIVE if error is None else error.crowded,
    )


def _busy(case: LifeCase, led: Led) -> bool:
    """Whether a difference may be this machine's."""
    return led.busy > TOO_LATE or led.slow > TOO_SLOW or _kept_by_chance(case, led)


def _kept_by_chance(case: LifeCase, led: Led) -> bool:
    """Whether the keepalives of several connections kept a mapping that no one's were to keep.

    Each has them at a time of its own.
    """
    keepalive, nat = case.course.timers.keepalive, case.scenario.timeouts
    if not case.scenario.silent or nat is None or (keepalive or nat.udp + 1) <= nat.udp:
        return False
    return led.idle <= nat.udp + MARGIN


def _details(case: LifeCase, expected: Expected, led: Led | None, why: str) -> LifeDetails:
    wanted = Expectation(
        fate=expected.fate,
        low=round(expected.low, 3),
        high=round(expected.high, 3),
        moved=expected.moved,
        why=why,
        stated=expected.stated,
    )
    if led is None:
        return LifeDetails(about=case.scenario.about, silent=case.scenario.silent, expected=wanted)
    seen = led.seen
    return LifeDetails(
        about=case.scenario.about,
        silent=case.scenario.silent,
        expected=wanted,
        seen=LifeSeen(
            fate=seen.fate,
            gap=round(seen.gap, 3),
            moved=seen.moved,
            packets=seen.packets,
            echoes=seen.echoes,
            spells=seen.spells,
        ),
        timeline=led.moments,
        slow=round(led.slow, 3),
        busy=round(led.busy, 3),
    )


# What was late needs much more room.
STUDY = Study("life", run, LifeDetails, deadline_s=120.0, fewer=4, explain=explained)
