"""The images of nodes: their names, and whether they are of these sources."""

import hashlib
from functools import cache

from testbed import places

BASE, ROUTER, PEER, COTURN = (f"testbed-{name}" for name in ("base", "router", "peer", "coturn"))
OURS = (BASE, ROUTER, PEER, COTURN)
MARK = "testbed.mark"  # the label that bears `mark`
# What runs inside containers, and so must be the same inside and outside.
_INSIDE = ("stacks", "model", "traversal", "lab/containers/agent.py")


@cache
def mark() -> str:
    """A digest of the sources that run inside containers."""
    digest = hashlib.sha256()
    for place in _INSIDE:
        path = places.PACKAGE / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(places.PACKAGE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(mark())
