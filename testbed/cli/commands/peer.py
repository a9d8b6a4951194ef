"""`testbed peer check`."""

import json
import sys
from collections.abc import Sequence

from testbed.errors import Exit, UsageError
from testbed.model.lab import Image
from testbed.model.peer_check import Checked, Scene, SceneResult
from testbed.peercheck.run import check
from testbed.report.peer_check import count_of, lines
from testbed.report.terminal import tell
from testbed.stacks.programs import Program, words_of
from testbed.stacks.registry import ADAPTERS, Adapter

DEFAULT = "punch_udp"


def check_peer(
    command: str, mechanism: str | None, scenes: Sequence[Scene], *, as_json: bool
) -> int:
    """Play the harness to ``command``, a program or one of our stacks; the exit code."""
    ours = ADAPTERS.get(command)
    argv = _ours(ours) if ours is not None else words_of(command)
    if ours is not None and mechanism not in (None, ours.mechanism):
        raise UsageError(f"{command} is a {ours.mechanism}", remedy="leave --mechanism out")
    chosen = mechanism or (ours.mechanism if ours else DEFAULT)

    def progress(result: SceneResult) -> None:
        said = count_of(len(result.broken)) if result.broken else "no rule broken"
        if result.unchecked and not result.broken:
            said = "not checked"
        tell(f"{result.scene}: {said}, {result.seconds:.1f} s", error=True)

    checked = check(argv, chosen, scenes, progress=None if as_json else progress)
    if as_json:
        print(json.dumps({"peer": command, **checked.to_json()}, indent=2))
    else:
        tell("\n".join(lines(command, checked)))
    return int(exit_code(checked))


def exit_code(checked: Checked) -> Exit:
    if checked.broken:
        return Exit.DIFFERS
    return Exit.AGREED if checked.determined else Exit.INCONCLUSIVE


def _ours(one: Adapter) -> tuple[str, ...]:
    """One of the testbed's own, as a program."""
    if isinstance(one.entry, Program):
        return one.entry.argv()
    assert not isinstance(one.entry, Image)  # nobody has added any
    return (sys.executable, "-m", "testbed.stacks", one.name)
