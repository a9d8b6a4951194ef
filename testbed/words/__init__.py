"""The catalogue: a sentence for each fact.  People read them; no program does."""

from testbed.model.breach import Breach
from testbed.model.fault import Fault
from testbed.model.path import PathSeen
from testbed.model.verdict import Grounds
from testbed.model.version import Built
from testbed.words import breaches, faults, grounds, paths

Fact = Breach | Fault | PathSeen | Grounds | Built


def sentence(fact: Fact) -> str:
    """What happened, for people."""
    if isinstance(fact, Breach):
        return breaches.sentence(fact)
    if isinstance(fact, Fault):
        return faults.sentence(fact)
    if isinstance(fact, Grounds):
        return grounds.sentence(fact)
    if isinstance(fact, Built):
        return (
            f"no known deviation was seen in {fact.stack} {fact.version}: "
            "its cells are judged by the protocol alone"
        )
    return paths.sentence(fact)
