"""A NAT profile: a name, a claimed behaviour, and where it is met."""

from dataclasses import field
from pathlib import Path

from testbed.model.behaviour import Behaviour
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine


class Profile(FrozenValue):
    """One file of ``nat-profiles/``, or of the user's own, read and checked."""

    name: str  # the file's stem
    title: str
    met: str  # where such a NAT is met
    source: str  # a citation, or "none" and why
    engine: Engine
    behaviour: Behaviour
    path: Path | None = None
    text: str = field(default="", repr=False)  # of the file
