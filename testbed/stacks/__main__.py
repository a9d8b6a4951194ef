"""``python -m testbed.stacks NAME``: one stack, or the module of one, as a program."""

import os
import sys

from testbed.errors import TestbedError
from testbed.model.lab import Image
from testbed.stacks.registry import Main, adapter


def main() -> int:
    """The stack's exit code; 2 for a name that there is not, 4 for one that is not built."""
    if len(sys.argv) != 2:
        print("usage: python -m testbed.stacks NAME", file=sys.stderr)
        return 2
    if sys.argv[1].startswith("testbed."):  # in a container, which has no manifests
        return Main(sys.argv[1])()
    try:
        command = adapter(sys.argv[1]).command()
    except TestbedError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    if isinstance(command, Image):
        raise AssertionError(f"{command.reference} is none of ours")
    if not callable(command):
        os.execv(command[0], list(command))
    return command()


if __name__ == "__main__":
    sys.exit(main())
