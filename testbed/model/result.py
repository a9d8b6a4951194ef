"""The result of one case, and the document of a whole run: one shape for every study.

`testbed/model/result.schema.json` is the JSON Schema of the document, made by
``python -m testbed.model.result``; a test holds it equal to this module.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from testbed.errors import Exit
from testbed.model.breach import Breach
from testbed.model.chances import Chances
from testbed.model.details import (
    Count,
    Details,
    Frozen,
    Milliseconds,
    Name,
    PunchDetails,
    Seconds,
    Text,
)
from testbed.model.explanation import Cause, Wrong
from testbed.model.outcome import Outcome, RungReading
from testbed.model.record import RunRecord
from testbed.model.verdict import Judgement

FORMAT: Final = 2  # of `Document`
MOST_SHARDS = 1000
THROWN = 0.25  # tries for each one that counts, beyond which the others are no sample
SCHEMA = Path(__file__).with_name("result.schema.json")


class Why(Frozen):
    """An explanation in short; all of it is in the folder of the case."""

    cause: Cause
    node: str | None  # that the cause is at
    headline: Text
    wrong: Wrong


class Try(Frozen):
    """An earlier try of a case, for which this machine was too busy."""

    measured: str | None
    reason: Text
    folder: str


class Result(Frozen):
    """How one case ended.  ``measured`` and ``predicted`` are short values of its study."""

    study: str
    name: Name  # unique in a run, and the path of the folder of the case
    group: Name  # the same for all repetitions of the case
    labels: dict[str, Text]  # axis -> value: stack, topology, mode, transport, ...
    profiles: tuple[str, ...]  # the NATs, from the dialer's to the listener's
    repeat: Count = 0
    judgement: Judgement
    measured: str | None
    predicted: str | None
    reason: Text
    findings: tuple[Text, ...] = ()  # the words of ``finding_values``
    finding_values: tuple[Annotated[Breach, Field(discriminator="kind")], ...] = ()
    notes: tuple[Text, ...] = ()
    packets_cited: tuple[Count, ...] = ()
    packets: Count = 0
    seconds: Seconds = 0.0
    peers_s: Seconds = 0.0  # of ``seconds``, those in which the lab was the peers'
    up_ms: Milliseconds | None = None
    connect_ms: Milliseconds | None = None
    folder: str
    late: bool = False  # inconclusive because this machine was too busy
    earlier_tries: tuple[Try, ...] = ()
    explanation: Why | None = None
    details: Details

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """A judgement needs what it compares."""
        if self.conclusive and (self.measured is None or self.predicted is None):
            raise ValueError(f"{self.judgement} without a measured and a predicted outcome")
        if self.study != self.details.study:
            raise ValueError(f"details of {self.details.study} in a result of {self.study}")
        known = getattr(self.details, "MEASURES", None)
        for value in (self.measured, self.predicted):
            if known is not None and value is not None and value not in known:
                raise ValueError(f"{self.study} measures no {value!r}")
        return self

    @property
    def conclusive(self) -> bool:
        """Whether the harness was sound, so that the case was judged."""
        return self.judgement is not Judgement.INCONCLUSIVE

    @property
    def stack(self) -> str:
        """The stacks under test."""
        return self.labels.get("stack", "")

    @property
    def hosts(self) -> tuple[str, str] | None:
        """Of a pair of a mesh: the dialer and the listener."""
        ends = (self.labels.get("dialer"), self.labels.get("listener"))
        return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])

    @property
    def grid(self) -> str:
        """The grid of reports that it is in: its stacks', or its mesh's."""
        return self.labels.get("topology", "") if self.hosts else self.stack

    @property
    def mode(self) -> str:
        """The mode of the peers; everything but ``punch`` is a negative control."""
        return self.labels.get("mode", "punch")

    @property
    def rung(self) -> RungReading | None:
        """The rung of the ladder, of stacks that climb one."""
        return self.details.rung if isinstance(self.details, PunchDetails) else None

    def to_json(self) -> dict[str, Any]:
        """The JSON value that ``result.json`` has."""
        return self.model_dump(mode="json")


class Identity(Frozen):
    """What all parts of one run have in common besides the versions."""

    seed: int | None  # None where the study has none
    backend: str
    certified: bool
    profiles: str  # a digest of their files
    selection: str  # a digest of the names of all cases, in order


class ShardPart(Frozen):
    """Which part of a run a document has."""

    number: Annotated[int, Field(ge=1, le=MOST_SHARDS)]
    of: Annotated[int, Field(ge=1, le=MOST_SHARDS)]
    places: tuple[Count, ...]  # of its results in the whole run

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.number > self.of:
            raise ValueError(f"there is no shard {self.number} of {self.of}")
        return self


class Unstable(Frozen):
    """A group whose repetitions ended differently, with the rate of those as predicted."""

    group: Name
    passed: Count
    judged: Count
    unjudged: Count
    bounds: tuple[float, float] | None
    measured: dict[str, Count]


class RateSeen(Frozen):
    """Repetitions whose end is a matter of chance, and one of their ends.

    ``predicted`` is the model's rate, ``least`` and ``most`` are how many of as many ``tries``
    it foresees, with its own sampling error (`testbed.model.chances`).  ``thrown`` are tries that
    do not count, since the machine was too busy.  A long try is likelier to be one of these, and
    so what is left of many is no sample: it has too many of the ends that come soon.
    """

    group: Name
    outcome: Outcome
    hits: Count
    tries: Count
    predicted: Annotated[float, Field(ge=0, le=1)]
    least: Count
    most: Count
    thrown: Count = 0

    @property
    def sampled(self) -> bool:
        """Whether so few tries were thrown away that the others tell a rate."""
        return self.thrown <= self.tries * THROWN

    @property
    def agrees(self) -> bool:
        """Whether the count is one that the model foresees."""
        return self.least <= self.hits <= self.most


class Summary(Frozen):
    """The counts of a run as a whole."""

    total: Count
    passed: Count
    failed: Count
    inconclusive: Count
    mixed: tuple[str, ...] = ()  # groups whose repetitions ended differently, and not by chance
    rates_differ: tuple[str, ...] = ()  # groups by chance, with a rate that is not as predicted
    rates_unsure: tuple[str, ...] = ()  # those of which too many tries were thrown away
    retried: Count = 0  # cases for which this machine was at first too busy
    certified: bool = True  # every NAT was measured to be what it declares

    @property
    def exit_code(self) -> Exit:
        """The exit code of the command that made the run."""
        if self.failed or self.mixed or self.rates_differ:
            return Exit.DIFFERS
        if self.inconclusive or self.rates_unsure or not self.total:
            return Exit.INCONCLUSIVE
        return Exit.AGREED


class Document(Frozen):
    """A whole run, or one shard of it; ``results.json`` of every study."""

    format: Literal[2]
    run: RunRecord
    facts: dict[str, Text]  # the versions that it ran with
    profiles: dict[str, str]  # the titles of its profiles, by name
    identity: Identity | None = None
    shard: ShardPart | None = None
    asked: Count  # cases that the run was to have; more than its results if it was interrupted
    summary: Summary
    exit_code: Count
    unstable: tuple[Unstable, ...] = ()
    rates: tuple[RateSeen, ...] = ()
    results: tuple[Result, ...]

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen: set[str] = set()
        for one in self.results:
            if one.name in seen:
                raise ValueError(f"{one.name} is there twice")
            seen.add(one.name)
        return self

    def to_json(self) -> dict[str, Any]:
        """The JSON value that ``results.json`` has."""
        return self.model_dump(mode="json")


def chances_of(result: Result) -> Chances | None:
    """How it may end by chance; None where it is sure."""
    return result.details.chances if isinstance(result.details, PunchDetails) else None


def rates(results: Sequence[Result]) -> tuple[RateSeen, ...]:
    """Of each group by chance with several judged repetitions, each end that is seen or foreseen.

    Of one repetition it is only asked whether it may end so.
    """
    groups: dict[str, list[Result]] = {}
    thrown: Counter[str] = Counter()
    for one in results:
        thrown[one.group] += len(one.earlier_tries) + one.late
        if one.conclusive and chances_of(one) is not None:
            groups.setdefault(one.group, []).append(one)
    asked = [some for some in groups.values() if len(some) > 1]
    return tuple(
        seen.model_copy(update={"thrown": thrown[seen.group]})
        for some in asked
        for seen in _rates(some, len(asked))
    )


def _rates(some: Sequence[Result], groups: int) -> Iterator[RateSeen]:
    # One that ended as no run had it was asked of more runs, and so knows better.
    chances = max((known for one in some if (known := chances_of(one))), key=lambda c: c.runs)
    for outcome in Outcome:
        if chances.borrowed and chances.count(outcome):
            continue  # it may end so, nobody knows how often
        hits = sum(one.measured == outcome for one in some)
        if hits or chances.count(outcome):
            least, most = chances.foresees(outcome, len(some), groups)
            yield RateSeen(
                group=some[0].group,
                outcome=outcome,
                hits=hits,
                tries=len(some),
                predicted=chances.rate(outcome),
                least=least,
                most=most,
            )


def summarize(results: Sequence[Result], *, certified: bool = True) -> Summary:
    """The counts, and the groups whose repetitions differ, or end not so often as foreseen."""
    seen = rates(results)
    unsure = (one.group for one in seen if not one.sampled)
    differing = (one.group for one in seen if one.sampled and not one.agrees)
    outcomes: dict[str, set[str | None]] = {}
    counts = dict.fromkeys(Judgement, 0)
    for one in results:
        counts[one.judgement] += 1
        if one.conclusive and chances_of(one) is None:
            outcomes.setdefault(one.group, set()).add(one.measured)
    return Summary(
        total=len(results),
        passed=counts[Judgement.PASS],
        failed=counts[Judgement.FAIL],
        inconclusive=counts[Judgement.INCONCLUSIVE],
        mixed=tuple(group for group, ends in outcomes.items() if len(ends) > 1),
        rates_differ=tuple(dict.fromkeys(differing)),
        rates_unsure=tuple(dict.fromkeys(unsure)),
        retried=sum(bool(one.earlier_tries) for one in results),
        certified=certified,
    )


def schema() -> str:
    """The text of the JSON Schema of `Document`."""
    return json.dumps(Document.model_json_schema(mode="serialization"), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
