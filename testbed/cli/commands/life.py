"""`testbed life`: what becomes of a direct path, beside what was expected."""

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from testbed.errors import Exit, TestbedError, UsageError
from testbed.lab import sandbox
from testbed.lab.forked import forked
from testbed.naming import instead
from testbed.nat.load import named
from testbed.predict.life import Expected, Transport, expect
from testbed.report.life import table, to_json
from testbed.run.folder import Files, RunFolder, say
from testbed.run.record import begun
from testbed.studies.life.row import Row
from testbed.studies.life.run import Led, lead
from testbed.studies.life.stories import STORIES, Story, story

DEADLINE = 120.0  # seconds for one life
TRIES = 3

Life = tuple[Story, Transport]


def lives(
    names: Sequence[str], peers: str, nats: tuple[str | None, str | None] = (None, None)
) -> list[Life]:
    """The lives of the scenarios ``names`` (all, if none) with ``peers``, words with commas.

    ``nats``: profiles of the homes, where they are not the scenario's.  An error for a word
    that is unknown, and for NATs between which there is no direct path to follow.
    """
    known = [transport.value for transport in Transport]
    wanted = known if peers == "all" else [word.strip() for word in peers.split(",")]
    for word in wanted:
        if word not in known:
            raise UsageError(f"unknown peers {word!r}", remedy=instead(word, ("all", *known)))
    chosen = [story(name) for name in dict.fromkeys(names)] or list(STORIES.values())
    return [(_between(one, nats, t), t) for one in chosen for t in Transport if t.value in wanted]


def _between(told: Story, nats: tuple[str | None, str | None], transport: Transport) -> Story:
    """The story between other NATs, if any are named."""
    a, b = nats
    if not (a or b):
        return told
    told = replace(told, a=a or told.a, b=b or told.b)
    named([told.a, told.b])  # an error where two files share a name
    try:
        _expected(told, transport)
    except UsageError as error:
        raise UsageError(
            f"{told.name} over {transport} between {told.a} and {told.b}: {error.message}",
            remedy="other NATs, or other scenarios and --peers",
        ) from None
    return told


def rows(chosen: Sequence[Life], jobs: int, out: Path) -> list[Row]:
    """Lead them, in the given order; says how far it is on stderr.  In a sandbox.

    Inconclusive ones are led again at the end, with fewer at a time.
    """
    errors = Console(stderr=True)
    found: dict[int, Row] = {}
    todo = list(range(len(chosen)))
    for _ in range(TRIES):
        for done, (index, row) in enumerate(_led([chosen[n] for n in todo], jobs, out), 1):
            found[todo[index]] = row
            words = f"{row.story} {row.transport.value}: {row.exit_code.name.lower()}"
            errors.print(f"{done:3} of {len(todo)}  {words}", highlight=False, soft_wrap=True)
        todo = [n for n in todo if found[n].exit_code is Exit.INCONCLUSIVE]
        jobs = max(1, jobs // 4)
    return [found[n] for n in range(len(chosen))]


def _led(chosen: Sequence[Life], jobs: int, out: Path) -> Iterator[tuple[int, Row]]:
    tasks: list[Callable[[int], bytes]] = [partial(_to_bytes, *life, out) for life in chosen]
    for index, output, seconds in forked(tasks, jobs, DEADLINE):
        told, transport = chosen[index]
        try:
            led: Led | str = pickle.loads(output)  # what our own fork wrote
        except (pickle.UnpicklingError, EOFError):
            led = f"its process ended without a result after {seconds:.0f} s"
        if isinstance(led, Led):
            yield index, Row(told.name, transport, led.expected, led)
        else:
            yield index, Row(told.name, transport, _expected(told, transport), None, led)


def _expected(told: Story, transport: Transport) -> Expected:
    behaviours = {name: profile.behaviour for name, profile in told.profiles.items()}
    return expect(told.topology, behaviours, told.course, transport)


def _to_bytes(told: Story, transport: Transport, out: Path, slot: int) -> bytes:
    try:
        return pickle.dumps(lead(told, transport, out / told.name / transport.value, slot))
    except TestbedError as error:
        return pickle.dumps(str(error))
    except Exception as error:  # a crash is the harness's fault, and no verdict
        return pickle.dumps(f"crashed: {error!r}")


def life(
    names: Sequence[str],
    peers: str,
    nats: tuple[str | None, str | None],
    jobs: int,
    out: Path,
    as_json: bool,
) -> int:
    """Lead lives and print one table; the exit code."""
    chosen = lives(names, peers, nats)
    folders = tuple(f"{told.name}/{transport.value}" for told, transport in chosen)
    kept = RunFolder(out, begun("life"), [Files(folders, ("capture.pcapng",))])
    sandbox.enter()
    say(kept.begin())
    led = rows(chosen, jobs, out)
    kept.end()
    if as_json:
        print(json.dumps([to_json(row) for row in led], indent=2))
    else:
        Console().print(table(led))
    codes = {row.exit_code for row in led}
    return int(Exit.DIFFERS if Exit.DIFFERS in codes else max(codes))
