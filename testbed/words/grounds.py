"""Sentences about why a verdict is what it is."""

from typing import assert_never

from testbed.model import verdict as it
from testbed.words import faults, paths, reasons

_LATE = {
    it.Tardy.RUN: "a run was {:.1f} s late: this machine is too busy",
    it.Tardy.NODE: "a node was {:.1f} s late: this machine is too busy",
    it.Tardy.LIFE: "this machine was up to {:.1f} s late: it is too busy",
}


def sentence(grounds: it.Grounds) -> str:
    """Why the prediction, why the measurement, or what broke."""
    match grounds:
        case it.Troubled(troubles):
            return "; ".join(map(faults.sentence, troubles))
        case it.AsPredicted(reason):
            return reasons.sentence(reason)
        case it.Otherwise(reason, path):
            return f"predicted: {reasons.sentence(reason)}; {paths.sentence(path)}"
        case it.Recalled(words):
            return words
        case it.NoResult():
            return "the run left no result.json"
        case it.Uncertified(routers):
            return f"{', '.join(routers)} failed certification"
        case it.TooBusy(who, seconds):
            return _LATE[who].format(seconds)
        case it.KeptByChance(seconds):
            return f"keepalives of several connections left no pause over {seconds:.1f} s"
        case it.RateMeasured(hits, runs, (low, high), theory):
            rate = f"{hits} of {runs} runs hit, which is {hits / runs:.3f}"
            return f"{rate} ({low:.2f} to {high:.2f}); theory says {theory:.3f}"
    assert_never(grounds)
