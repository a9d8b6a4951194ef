"""`testbed merge`: the shards of a matrix put together."""

from collections.abc import Sequence
from pathlib import Path

from testbed.cli.commands.report import taken_up
from testbed.cli.commands.running import Reports, show
from testbed.errors import UsageError
from testbed.files import require_writable, write_json
from testbed.report.files import document
from testbed.report.html import PAGE, write_html
from testbed.run.folder import Files, RunFolder, say
from testbed.run.record import begun
from testbed.run.shards import Part, merge
from testbed.run.store import RESULTS


def merged(
    shards: Sequence[Path],
    out: Path,
    differing: Sequence[str],
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> int:
    """Write results.json and report.html of the whole into ``out``; the whole run's exit code.

    The cells' folders stay where they are, and the results say where that is.
    """
    parts = [read(path) for path in shards]
    reports = Reports(junit=junit, markdown=markdown)
    results, facts = merge(parts, differing)
    asked = parts[0].run
    kept = RunFolder(out, begun("merge", asked.seed), [Files((".",), (RESULTS, PAGE))])
    require_writable(out / RESULTS, out / PAGE, *reports.paths)
    say(kept.begin())
    titles = {k: v for part in parts for k, v in part.document.profiles.items()}
    value = document(results, facts, kept.run, certified=asked.certified, titles=titles)
    write_json(out / RESULTS, value.to_json())
    write_html(out / PAGE, value)
    seconds = sum(one.seconds for one in results)
    reports.write(value, seconds)
    kept.end()
    told = f"report: {out / PAGE}; {len(parts)} shards merged"
    return show(value, seconds, told, as_json=as_json)


def read(path: Path) -> Part:
    """One shard's ``results.json``, or its folder; UsageError naming what is wrong with it."""
    value = taken_up(path)
    if value.shard is None or value.identity is None:
        raise UsageError(
            f"{path} is no shard but a run of its own", remedy="testbed matrix --shard I/N"
        )
    return Part(str(path), value, value.shard, value.identity)
