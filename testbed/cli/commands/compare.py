"""`testbed compare` and `testbed golden`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from testbed.errors import UsageError
from testbed.files import require_writable, write_text
from testbed.report.compare import Comparison, Difference, Kind, compare
from testbed.report.delays import Delay
from testbed.report.golden import golden
from testbed.report.recorded import merged, read
from testbed.report.terminal import tell, terminal

NAMES = 4  # shown of a group; all are in the JSON
GROUPS = 12  # shown of a kind
_HEADINGS = {
    Kind.WORSE: ("worse", "bold red"),
    Kind.GONE: ("only in the old one", "bold red"),
    Kind.CHANGED: ("changed", "bold yellow"),
    Kind.BETTER: ("better", "bold green"),
    Kind.ADDED: ("only in the new one", "bold yellow"),
    Kind.CHANCE: ("within chance", "bold dim"),
}


def compared(
    old: Path, new: Path, select: Sequence[str], factor: float | None, as_json: bool
) -> int:
    """Compare two records of a matrix; the exit code."""
    if factor is not None and not 1 < factor < float("inf"):
        raise UsageError(f"--times must be more than 1, not {factor:g}", remedy="--times 1.5")
    if old.resolve() == new.resolve():
        raise UsageError(f"{old} is held against itself: name two runs")
    found = compare(read(old), read(new), select=select, factor=factor)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        console = terminal()
        for line in _lines(found):
            console.print(line, soft_wrap=True)  # paths are there to be copied
    return int(found.exit_code)


def keep(results: Sequence[Path], out: Path) -> int:
    """Write the golden file of ``results``; the exit code."""
    text, remarks = golden(merged([read(path) for path in results]))
    require_writable(out)
    write_text(out, text)
    for remark in remarks:
        tell(f"testbed: {remark}", error=True)
    tell(f"{out}: {text.count(chr(10)) - 2} pairs")
    return 0


def _lines(found: Comparison) -> Iterator[Text]:
    for kind, (words, style) in _HEADINGS.items():
        if some := found.of(kind):
            yield Text(f"{words}: {len(some)}", style)
            yield from _groups(some)
    if found.delays:
        yield Text("time to connect", "bold yellow")
        yield from (Text(f"  {_time(delay)}") for delay in found.delays[:GROUPS])
        yield from _more(len(found.delays) - GROUPS, "times")
    if found.unclear:
        yield Text(f"inconclusive: {len(found.unclear)}", "bold magenta")
        shown = list(found.unclear.items())
        yield from (Text(f"  {name}: {why}") for name, why in shown[:NAMES])
        yield from _more(len(shown) - NAMES, "pairs")
    for name, (before, after) in found.facts.items():
        yield Text(f"{name}: {before or 'none'} -> {after or 'none'}", "dim")
    yield _last_line(found)


def _groups(differences: Sequence[Difference]) -> Iterator[Text]:
    """Pairs that changed in the same way are one group, the largest first."""
    groups: dict[str, list[Difference]] = {}
    for difference in differences:
        said = "; ".join(f"{aspect.name} {aspect}" for aspect in difference.aspects)
        key = said or difference.pair.rpartition("/")[0]
        groups.setdefault(key, []).append(difference)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    for said, group in ordered[:GROUPS]:
        yield Text(f"  {len(group)} x {said}")
        names = ", ".join(difference.pair for difference in group[:NAMES])
        more = f", and {len(group) - NAMES} more" if len(group) > NAMES else ""
        yield Text(f"      {names}{more}")
        if group[0].aspects and group[0].folder and Path(group[0].folder).is_dir():
            yield Text(f"      testbed explain {group[0].folder}", "dim")
    yield from _more(len(ordered) - GROUPS, "groups")


def _more(count: int, what: str) -> Iterator[Text]:
    if count > 0:
        yield Text(f"  and {count} more {what}: see --json")


def _time(delay: Delay) -> str:
    times = f"{delay.old_ms:.0f} -> {delay.new_ms:.0f} ms"
    return f"{delay.of}: {times}, x {delay.factor:.2f} (by chance: {delay.chance:.1g})"


def _last_line(found: Comparison) -> Text:
    differ = sum(kind is not Kind.CHANCE for kind in (d.kind for d in found.differences))
    text = Text(f"{found.compared} pairs compared", "bold")
    if differ:
        text.append(f", {differ} differ", "red")
    elif found.compared:
        text.append(", no difference", "green")
    if found.delays and found.times_count:
        slower = sum(delay.factor > 1 for delay in found.delays)
        text.append(f", {slower} slower", "red" if slower else "green")
    if found.unclear:
        text.append(f", {len(found.unclear)} inconclusive", "magenta")
    return text
