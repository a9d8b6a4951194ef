"""Sentences about why a verdict is what it is."""

from typing import assert_never

from testbed.model.verdict import AsPredicted, Grounds, Otherwise, Recalled, Troubled
from testbed.words import faults, paths, reasons


def sentence(grounds: Grounds) -> str:
    """Why the prediction, why the measurement, or what broke."""
    match grounds:
        case Troubled(troubles):
            return "; ".join(map(faults.sentence, troubles))
        case AsPredicted(reason):
            return reasons.sentence(reason)
        case Otherwise(reason, path):
            return f"predicted: {reasons.sentence(reason)}; {paths.sentence(path)}"
        case Recalled(words):
            return words
    assert_never(grounds)
