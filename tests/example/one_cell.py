"""One cell from Python: python one_cell.py FOLDER."""

import sys
from pathlib import Path

from testbed.lab import sandbox
from testbed.lab.namespaces import Namespaces
from testbed.nat.load import catalogue
from testbed.run.cell import run_cell
from testbed.studies.punch.cell import Cell

out = Path(sys.argv[1])
sandbox.enter(out)
ran = run_cell(Cell("punch-udp", ("symmetric", "full-cone")), catalogue(), Namespaces(), out)
found = ran.result()
print(found.judgement, found.measured, found.explanation and found.explanation.cause)
