"""Golden files: what a matrix gave, one line a pair, for a repository to keep.

A line says how it ended, its cause and the node that the cause is at.  What was predicted
is as measured, and the judgement a pass, where the line does not say otherwise.
"""

import json
from collections.abc import Iterator

from testbed.errors import Exit, TestbedError
from testbed.model.verdict import Judgement
from testbed.report.recorded import Pair, Recorded

FORMAT = 1


class UnsettledError(TestbedError):
    """Results that say two things of one pair, or nothing, cannot be held against others."""

    phase = "golden"
    exit_code = Exit.INCONCLUSIVE


def golden(recorded: Recorded) -> tuple[str, list[str]]:
    """The text of the golden file, sorted by pair, and what its reader should know of it.

    A cause that differs between repetitions is left out, so that it will not be compared.
    UnsettledError naming the pairs that are inconclusive or end now so, now so.
    """
    pairs = [recorded.pairs[name] for name in sorted(recorded.pairs)]
    if unsettled := [pair.name for pair in pairs if not _settled(pair)]:
        raise UnsettledError(
            f"{recorded.path}: inconclusive, or not the same each time: {_some(unsettled)}",
            remedy="run those again on a quieter machine",
        )
    lines = ",\n".join(f"{json.dumps(pair.name)}: {json.dumps(_line(pair))}" for pair in pairs)
    return f'{{"format": {FORMAT}, "pairs": {{\n{lines}\n}}}}\n', list(_remarks(pairs))


def _settled(pair: Pair) -> bool:
    same = len({(run.judgement, run.measured, run.predicted) for run in pair.runs}) == 1
    return same and pair.conclusive == pair.runs


def _line(pair: Pair) -> dict[str, str]:
    run = pair.runs[0]
    assert run.measured is not None  # the pair is settled
    assert run.predicted is not None
    line = {"measured": run.measured}
    if run.predicted != run.measured:
        line["predicted"] = run.predicted
    if run.judgement is not Judgement.PASS:
        line["judgement"] = run.judgement.value
    if run.cause is not None and len({run.why for run in pair.runs}) == 1:
        line["cause"] = run.cause
        if run.place is not None:
            line["node"] = run.place
    return line


def _remarks(pairs: list[Pair]) -> Iterator[str]:
    if bad := [pair.name for pair in pairs if pair.runs[0].judgement is not Judgement.PASS]:
        yield f"kept as failing: {_some(bad)}"
    if torn := [pair.name for pair in pairs if len({run.why for run in pair.runs}) > 1]:
        yield f"kept without a cause, for it differs between repetitions: {_some(torn)}"
    if bare := [pair.name for pair in pairs if {run.cause for run in pair.runs} == {None}]:
        yield f"not explained: {_some(bare)}"


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
