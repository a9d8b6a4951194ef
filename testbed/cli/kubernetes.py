"""The shards of a matrix as a Kubernetes Indexed Job (batch/v1)."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed.errors import UsageError

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123: a label


def manifest(image: str, shards: int, name: str, claim: str, words: Sequence[str]) -> str:
    """The Job in JSON, for kubectl: ``words`` are `testbed matrix`'s, ``claim`` the volume's.

    ``shards`` > 0.  UsageError naming what Kubernetes or the shards would not take.
    """
    for what, value in (("--name", name), ("--claim", claim)):
        if not _NAME.fullmatch(value):
            raise UsageError(f"{what}: {value!r} is no name of Kubernetes")
    if not image or image != image.strip():
        raise UsageError(f"{image!r} is no image")
    if taken := [word for word in words if re.match(r"--(shard|out)(=|$)|-o", word)]:
        raise UsageError(f"{taken[0]} is the Job's to say")
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined)
    return environment.get_template("job.json.j2").render(
        image=image, shards=shards, name=name, claim=claim, words=list(words)
    )
