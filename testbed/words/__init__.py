"""The catalogue: a sentence for each fact.  People read them; no program does."""

from testbed.model.breach import Breach
from testbed.model.fault import Fault
from testbed.model.life import LifeReason
from testbed.model.path import PathSeen
from testbed.model.reason import Reason, TraceStep
from testbed.model.statement import Statement
from testbed.model.verdict import Grounds
from testbed.model.version import Built
from testbed.words import breaches, explanations, faults, grounds, lives, packets, paths, reasons

Fact = Breach | Fault | PathSeen | Grounds | Built | Reason | TraceStep | LifeReason | Statement


def sentence(fact: Fact) -> str:
    """What happened, for people."""
    if isinstance(fact, Breach):
        return breaches.sentence(fact)
    if isinstance(fact, Fault):
        return faults.sentence(fact)
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
    if isinstance(fact, Built):
        return (
            f"no known deviation was seen in {fact.stack} {fact.version}: "
            "its cells are judged by the protocol alone"
        )
    return paths.sentence(fact)
