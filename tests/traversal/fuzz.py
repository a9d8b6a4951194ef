"""Coverage-guided fuzzing of one parser: `python -m tests.traversal.fuzz NAME [libFuzzer flags]`.

NAME is a key of `test_parsers.PARSERS`; `-runs=100000` stops after so many inputs.  Needs
the package atheris.  Anything but a value or a typed error is a crash.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["testbed.traversal"]):
    from testbed.traversal import varint
    from testbed.traversal.errors import TraversalError

    from .test_parsers import PARSERS, SEEDS


def main() -> None:
    name = sys.argv.pop(1)
    parser = PARSERS[name]

    def one_input(data: bytes) -> None:
        with contextlib.suppress(TraversalError, varint.IncompleteError):
            parser(data)

    with tempfile.TemporaryDirectory() as corpus:
        for index, seed in enumerate(SEEDS):
            (Path(corpus) / str(index)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
