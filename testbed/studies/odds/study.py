"""The study of hard NATs: how often a strategy gets through, beside theory.

The interval around a measured rate is Wilson's.  Each is so wide that, if the theory is
right, all of them together contain it in 99 % of all experiments (Bonferroni): an experiment
is no worse off for having many cases.
"""

from dataclasses import replace
from statistics import NormalDist

from testbed.errors import TestbedError, UnfitError
from testbed.evidence.account import WireAccount
from testbed.explain.crossings import Shown, crossings
from testbed.model.chance import wilson
from testbed.model.details import OddsDetails, Rate
from testbed.model.explanation import Cause, Explanation
from testbed.model.failure import fault_of
from testbed.model.journey import Journey
from testbed.model.result import Result
from testbed.model.verdict import Judgement, RateMeasured, Tardy, TooBusy
from testbed.studies import base
from testbed.studies.base import Site, Study
from testbed.studies.odds.cases import Case
from testbed.studies.odds.runs import Measured, measure
from testbed.studies.odds.wire import EASY as EASY_HOST
from testbed.traversal.hard_nat import Kind, decode
from testbed.words import Fact, sentence

DOUBT = 0.01  # the chance that any case of an experiment differs although the theory holds
_ROUNDING = 1e-9


def odds(runs: int) -> Study[Case]:
    """The study, of cases with as many ``runs``."""
    return replace(STUDY, deadline_s=180.0 + runs)  # of which containers take a minute


def run(case: Case, site: Site) -> Result:
    """Measure one case and judge it."""
    try:
        return judged(case, measure(case, site), site)
    except UnfitError:
        raise
    except TestbedError as error:
        return judged(case, None, site, error)


def judged(
    case: Case, measured: Measured | None, site: Site, error: TestbedError | None = None
) -> Result:
    """The result of a case; ``measured`` is None when ``error`` kept it from being.

    A machine too busy casts a doubt: it leaves an agreement alone, and makes a difference
    inconclusive.
    """
    details = _details(case, measured)
    rate = _rate(details)
    late = error is not None and error.crowded
    judgement = Judgement.INCONCLUSIVE
    because: list[Fact] = [fault_of(error)] if error else []
    if measured is not None:
        because = _rates(details)
        if measured.wrong:
            judgement = Judgement.FAIL
        elif rate is Rate.AS_THEORY:
            judgement = Judgement.PASS
        elif measured.late > case.strategy.limits.patience:  # a side may have given up too soon
            late = True
            because.insert(0, TooBusy(Tardy.RUN, measured.late))
        else:
            judgement = Judgement.FAIL
    wrong = measured.wrong if measured else ()
    return base.judged(
        "odds",
        case,
        site.folder,
        rate,
        Rate.AS_THEORY,
        judgement=judgement,
        details=details,
        because=because,
        findings=tuple(sentence(breach) for breach in wrong),
        finding_values=wrong,
        packets=measured.recorded if measured else 0,
        late=late,
    )


def explained(result: Result, account: WireAccount) -> Explanation:
    """By the probes of the easy side that came to the hard side's NAT."""
    probes = [one for one in account.sent(EASY_HOST) if _kind(one) is Kind.PROBE]
    return crossings(result, account, Shown(probes, lambda _: True, Cause.BOTH_OPENED))


def _kind(journey: Journey) -> Kind | None:
    frame = decode(journey.first.payload)
    return frame.kind if frame else None


def _rates(details: OddsDetails) -> list[Fact]:
    """The rate beside theory's."""
    if details.bounds is None or details.theory is None:
        return []
    return [RateMeasured(details.hits, details.runs, details.bounds, details.theory)]


def _details(case: Case, measured: Measured | None) -> OddsDetails:
    if measured is None:
        return OddsDetails(theory=case.theory)
    z = NormalDist().inv_cdf(1 - DOUBT / case.of / 2)
    return OddsDetails(
        theory=case.theory,
        runs=measured.runs,
        hits=measured.hits,
        bounds=wilson(measured.hits, measured.runs, z),
        late_s=measured.late,
        most_packets=measured.most_packets,
    )


def _rate(details: OddsDetails) -> Rate | None:
    """None where nothing was measured."""
    if details.bounds is None or details.theory is None:
        return None
    low, high = details.bounds
    if details.theory > high + _ROUNDING:
        return Rate.LOWER
    return Rate.HIGHER if details.theory < low - _ROUNDING else Rate.AS_THEORY


STUDY = Study("odds", run, OddsDetails, tries=2, fewer=4, explain=explained)
