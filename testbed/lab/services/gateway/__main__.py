"""``python3 -m gateway FILE``: serve as FILE says."""

import asyncio
import sys
from pathlib import Path

from .serve import serve
from .settings import read

asyncio.run(serve(read(Path(sys.argv[1]).read_text(encoding="utf-8"))))
