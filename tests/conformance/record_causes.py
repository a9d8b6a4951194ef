"""Run the cells whose cause is known by construction, and keep what was recorded of them.

    PYTHONPATH=tests:tests/conformance python tests/conformance/record_causes.py

writes `tests/unit/captures/causes.tar.xz`, on which `tests/unit/test_recorded_causes.py` holds the
explainer to these causes without a lab.  To be run where the format of a cell's folder changed.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

from testbed.lab import sandbox

ARCHIVE = Path(__file__).parents[1] / "unit" / "captures" / "causes.tar.xz"
LEFT_OUT = {"plan.txt", "explanation.json"}  # made anew from the rest


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sandbox.enter(folder)
        record(folder)
        if late := busy(folder):
            print(f"this machine was too busy for {', '.join(late)}: nothing was kept")
            return 1
        pack(folder, ARCHIVE)
    return 0


def record(folder: Path) -> None:
    from explain_cases import CASES
    from explain_corpus import corpus

    corpus(folder, CASES, 4)


def busy(folder: Path) -> list[str]:
    """The cells of which the last try was late: what they show may be the machine's doing."""
    results = {path.name: max(path.iterdir()) / "result.json" for path in sorted(folder.iterdir())}
    return [name for name, file in results.items() if json.loads(file.read_bytes())["late"]]


def pack(folder: Path, archive: Path) -> None:
    """The last try of each cell, and what is known of it."""
    from explain_cases import CASES

    known = {}
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name, case in CASES.items():
            nodes = case.seen_at or (case.node or "nat-b",)
            known[name] = {"cause": case.cause.value, "node": case.node, "seen_at": nodes}
            last = max((folder / name).iterdir())
            for path in sorted(last.rglob("*")):
                if path.is_file() and path.name not in LEFT_OUT:
                    tar.add(path, Path(name) / path.relative_to(last), filter=_anonymous)
        listed = folder / "known.json"
        listed.write_text(json.dumps(known, indent=1), encoding="utf-8")
        tar.add(listed, listed.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    sys.exit(main())
