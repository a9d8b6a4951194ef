"""What is expected of stacks that are known to do otherwise than the protocol that is played.

A deviation was confirmed by repetition and read in the stack's source; the findings beside
its table (``images/STACK/FINDINGS.md``) have the packets.  It changes what is expected of a
cell: who does not deviate where the table says so differs, too, and fails the cell.  It is
true of the versions in which it was seen, and applies to no other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from testbed.model.breach import Breach, DeviationGone
from testbed.model.deviation import ENDS, Case, Deviation, Ends, Pattern
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.reason import Deviates
from testbed.model.version import Built
from testbed.stacks import folders

DEVIATIONS = folders.deviations()


def known(
    case: Case, table: Sequence[Deviation] = DEVIATIONS, ended: Outcome | None = None
) -> tuple[Deviation, ...]:
    """Those that apply to ``case``, whose outcome is the oracle's; one may bring on the next.

    ``ended``: how the cell ended, where a deviation leaves that open.
    None, where the case has a version of a stack that no row of that stack covers.
    """
    if uncovered(case.built, table):
        return ()
    found: list[Deviation] = []
    for one in table:
        if one.covers(case) and one.condition(case):
            found.append(one)
            case = replace(case, outcome=one.leads_to(case.outcome, ended))
    return tuple(found)


def fewest(found: Iterable[Deviation], ends: Ends = ENDS) -> Mapping[str, int]:
    """How often those dial, by their hosts, who by the deviations ``found`` dial less than others.

    So far they stay relayed.
    """
    told: dict[str, int] = {}
    for dials in (one.dials for one in found):
        for host, count in zip(ends, (dials.a, dials.b), strict=True):
            if count is not None:
                told[host] = min(count, told.get(host, count))
    return told


def come_to(found: Iterable[Deviation], outcome: Outcome, ended: Outcome) -> Outcome:
    """What becomes of the oracle's ``outcome`` by the deviations ``found``; as in `known`."""
    for one in found:
        outcome = one.leads_to(outcome, ended)
    return outcome


def uncovered(built: Iterable[Built], table: Sequence[Deviation] = DEVIATIONS) -> tuple[Built, ...]:
    """Those of ``built`` whose stack the table knows, but not in this version."""
    versions: dict[str, set[str]] = {}
    for row in table:
        versions.setdefault(row.stack, set()).update(row.versions)
    found = (end for end in built if end.version not in versions.get(end.stack, {end.version}))
    return tuple(dict.fromkeys(found))


def expected(prediction: Prediction, deviations: Iterable[Deviation]) -> Prediction:
    """The prediction as the deviations change it, with their names in its reason."""
    for one in deviations:
        reason = Deviates(prediction.reason, one.stack, one.name, one.date)
        outcome, chances = one.leads_to(prediction.outcome), prediction.chances
        if one.seen is not None:
            chances = one.seen.chances
        elif chances is not None and outcome is not prediction.outcome:
            chances = chances.deviating(prediction.outcome, outcome)
        prediction = replace(prediction, outcome=outcome, reason=reason, chances=chances)
    return prediction


def unexpected(
    found: Iterable[Breach],
    deviations: Iterable[Deviation],
    ends: Ends = ENDS,
    untold: Collection[Pattern] = (),
) -> list[Breach]:
    """Of the breaches ``found``, those that nobody knows of; and known ones that are missing.

    ``ends``: the hosts of the dialer and of the listener.  ``untold``: those that the run
    cannot show, so that none of them is missing.
    """
    left, missing = list(found), list[Breach]()
    for one in deviations:
        if not one.breaches:
            continue
        rest = [breach for breach in left if not any(p.fits(breach, ends) for p in one.breaches)]
        unseen = any(p.overlaps(pattern) for p in one.breaches for pattern in untold)
        if len(rest) == len(left) and not unseen and not one.raced:
            missing.append(DeviationGone(one.stack, one.name, one.link))
        left = rest
    return left + missing
