"""The program of the library's README, as a file that can be run."""

import re
from pathlib import Path

import testbed.traversal

README = Path(testbed.traversal.__file__).parent / "README.md"


def write_program(folder: Path) -> Path:
    """`transfer.py` in the folder, word for word as the README has it."""
    [text] = re.findall(r'```python\n("""transfer\.py .*?)```', README.read_text(), re.DOTALL)
    program = folder / "transfer.py"
    program.write_text(text)
    return program
