"""What `testbed peer check` found, for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from testbed.model.peer_check import BrokenRule, Checked, Scene, SceneResult
from testbed.places import PACKAGE
from testbed.words import broken_rules

SHOWN = 8  # lines of stderr, of its beginning and of its end


def page() -> Path:
    """The page that explains the rules, as this installation has it."""
    file = PACKAGE / "stacks" / "README.md"
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def lines(subject: str, checked: Checked) -> Iterator[str]:
    """The result for a terminal: the sum, each broken rule, what was not looked at."""
    yield f"{subject} as {checked.mechanism}: {_sum(checked)}"
    for one, scenes in _alike(checked.broken):
        also = f" (and in {len(scenes) - 1} more: {', '.join(scenes[1:])})" if scenes[1:] else ""
        yield f"  {scenes[0]:16} {one.rule:20} {broken_rules.sentence(one)}{also}"
    for text, scenes in _told(checked.scenes):
        yield from _stderr(text, scenes)
    for gap in checked.unchecked:
        yield f"  {gap.scene:16} {'not checked':20} {broken_rules.gap(gap)}"
    if checked.broken:
        yield f"each rule is explained at the end of {page()}"


def count_of(broken: int) -> str:
    """So many rules."""
    return f"{broken} broken rule{'s' if broken > 1 else ''}"


def _alike(broken: Iterable[BrokenRule]) -> list[tuple[BrokenRule, list[Scene]]]:
    """Each rule that was broken in one way, as it was first seen, with all scenes of it.

    What is shown of a line differs from scene to scene, as times do: it makes no other way.
    """
    ways: dict[tuple[str, ...], tuple[BrokenRule, list[Scene]]] = {}
    for one in broken:
        way = (one.rule, one.event, one.field, str(one.expected))
        ways.setdefault(way, (one, []))[1].append(one.scene)
    return list(ways.values())


def _sum(checked: Checked) -> str:
    count = len(_alike(checked.broken))
    played = len(checked.scenes)
    scenes = f"{played} scene{'s' if played > 1 else ''}"
    if count:
        return f"breaks {count} rule{'s' if count > 1 else ''} of the contract in {scenes}"
    if not checked.determined:
        return "could not be determined"
    return f"keeps the contract in {scenes}"


def _told(scenes: Sequence[SceneResult]) -> list[tuple[str, list[Scene]]]:
    """What was on stderr, each text once."""
    texts: dict[str, list[Scene]] = {}
    for scene in scenes:
        if scene.stderr:
            texts.setdefault(scene.stderr, []).append(scene.scene)
    return list(texts.items())


def _stderr(text: str, scenes: Sequence[Scene]) -> Iterator[str]:
    also = f" (and in {len(scenes) - 1} more)" if scenes[1:] else ""
    yield f"  {scenes[0]:16} its stderr{also}:"
    told = text.splitlines()
    left_out = len(told) - 2 * SHOWN
    if left_out > 1:
        told = [*told[:SHOWN], f"[{left_out} lines are left out here]", *told[-SHOWN:]]
    for line in told:
        yield f"    | {line}"
