"""The study of relays: what a swarm costs them, beside what its population foresees."""

from collections.abc import Iterator, Sequence

from testbed.capture.reader import read
from testbed.errors import TestbedError, UnfitError
from testbed.model.breach import (
    Breach,
    BytesDiffer,
    CountersDiffer,
    PathDiffers,
    ShareDiffers,
    WorkDiffers,
)
from testbed.model.details import Foreseen, RelaysDetails, Swarming
from testbed.model.failure import fault_of
from testbed.model.result import Result
from testbed.model.verdict import Judgement, Tardy, TooBusy
from testbed.studies import base
from testbed.studies.base import Site, Study
from testbed.studies.kept import CAPTURE
from testbed.studies.relays.expect import foreseen
from testbed.studies.relays.run import Swarmed
from testbed.studies.relays.run import swarm as met
from testbed.studies.relays.swarm import Swarm
from testbed.studies.relays.wire import Seen, pairs_seen
from testbed.words import Fact, sentence

TOO_LATE = 0.5  # seconds; beyond it a difference may be the machine's
LATE_PUNCH = 0.01  # half of the way from an end to the other: so much later a punch may fail


def run(case: Swarm, site: Site) -> Result:
    """Let one swarm meet, and judge it."""
    try:
        found = met(case, site)
        seen = pairs_seen(case, found, read(site.folder / CAPTURE))
    except UnfitError:
        raise
    except TestbedError as error:
        return judged(case, site, None, None, error)
    return judged(case, site, found, seen)


def breaches(seen: Seen, expected: Foreseen) -> Iterator[Breach]:
    """How the wire differs from what is foreseen, and from what the relays' machines count."""
    for relay in seen.relays:
        recorded = relay.packets, relay.bytes
        counted = relay.counted_packets, relay.counted_bytes
        if recorded != counted:
            yield CountersDiffer(relay.name, recorded, counted)
    for pair in seen.pairs:
        if pair.measured is not None and pair.measured not in pair.possible:
            yield PathDiffers(pair.name, pair.measured, pair.possible[0])
        if pair.finishes is not None and pair.finished is not pair.finishes:
            yield WorkDiffers(pair.name, pair.done, pair.asked)
    direct = sum(pair.measured == "direct" for pair in seen.pairs)
    if not expected.direct[0] <= direct <= expected.direct[1]:
        yield ShareDiffers(direct, len(seen.pairs), expected.direct)
    passed = sum(relay.bytes for relay in seen.relays)
    if not expected.relay_bytes[0] <= passed <= expected.relay_bytes[1]:
        yield BytesDiffer(passed, expected.relay_bytes)


def judged(
    case: Swarm,
    site: Site,
    found: Swarmed | None,
    seen: Seen | None,
    error: TestbedError | None = None,
) -> Result:
    """The result of a swarm; a machine too busy makes a difference inconclusive."""
    expected = foreseen(case)
    wrong = tuple(breaches(seen, expected)) if seen else ()
    busy = found is not None and seen is not None and _busy(found.late_s, seen, wrong)
    judgement = Judgement.FAIL if wrong else Judgement.PASS
    because: list[Fact] = [*wrong, *([fault_of(error)] if error else [])]
    if seen is None or (wrong and busy):
        judgement = Judgement.INCONCLUSIVE
    if found is not None and judgement is Judgement.INCONCLUSIVE:
        because.append(TooBusy(Tardy.LIFE, found.late_s))
    measured = None if seen is None else Swarming.OTHERWISE if wrong else Swarming.AS_FORESEEN
    return base.judged(
        "relays",
        case,
        site.folder,
        measured,
        Swarming.AS_FORESEEN,
        judgement=judgement,
        details=RelaysDetails(
            population=case.population.name,
            source=case.population.source,
            foreseen=expected,
            pairs=seen.pairs if seen else (),
            relays=seen.relays if seen else (),
            late_s=found.late_s if found else 0.0,
        ),
        because=because,
        findings=tuple(map(sentence, wrong)),
        finding_values=wrong,
        packets=found.packets if found else 0,
        late=judgement is Judgement.INCONCLUSIVE if error is None else error.crowded,
    )


def _busy(late_s: float, seen: Seen, wrong: Sequence[Breach]) -> bool:
    """Whether all that is wrong may be the machine's doing.

    A pair that goes another way may have been late, if the machine was as late at least.
    """
    if late_s > TOO_LATE:
        return True
    late = {pair.name for pair in seen.pairs if LATE_PUNCH < pair.late_ms / 1e3 <= late_s}
    return all(isinstance(one, PathDiffers) and one.pair in late for one in wrong)


STUDY = Study("relays", run, RelaysDetails, deadline_s=300.0, tries=2)
"""Its command says the cases."""
