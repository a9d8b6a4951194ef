"""The catalogue: a sentence for each fact.  People read them; no program does."""

from collections.abc import Iterable

from testbed.model.breach import Breach
from testbed.model.fault import Fault
from testbed.model.gap import Gap
from testbed.model.life import LifeReason
from testbed.model.path import PathSeen
from testbed.model.reason import Reason
from testbed.model.statement import Statement
from testbed.model.trace import TraceStep
from testbed.model.verdict import Grounds
from testbed.model.version import Built, Foreknown
from testbed.words import (
    breaches,
    explanations,
    faults,
    gaps,
    grounds,
    lives,
    packets,
    paths,
    reasons,
)

Version = Built | Foreknown
Fact = (
    Breach
    | Fault
    | Gap
    | PathSeen
    | Grounds
    | Version
    | Reason
    | TraceStep
    | LifeReason
    | Statement
)


def sentence(fact: Fact) -> str:
    """What happened, for people."""
    if isinstance(fact, Breach):
        return breaches.sentence(fact)
    if isinstance(fact, Fault):
        return faults.sentence(fact)
    if isinstance(fact, Gap):
        return gaps.sentence(fact)
    if isinstance(fact, Statement):
        return explanations.sentence(fact)
    if isinstance(fact, Grounds):
        return grounds.sentence(fact)
    if isinstance(fact, Reason):
        return reasons.sentence(fact)
    if isinstance(fact, TraceStep):
        return packets.step(fact)
    if isinstance(fact, LifeReason):
        return lives.sentence(fact)
    if isinstance(fact, Version):
        return _of_version(fact)
    return paths.sentence(fact)


def _of_version(fact: Version) -> str:
    if isinstance(fact, Foreknown):
        return (
            f"{fact.node}'s peer accepts no nonce: that its echo went from one end to the other "
            "is shown by journeys alone, as its bytes may have been known before"
        )
    return (
        f"no known deviation was seen in {fact.stack} {fact.version}: "
        "its cells are judged by the protocol alone"
    )


def sentences(facts: Iterable[Fact]) -> str:
    """Of several facts, each once and in their order."""
    return "; ".join(dict.fromkeys(map(sentence, facts)))
