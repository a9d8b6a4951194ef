"""The populations that there are: ours by their names, and the user's by their files."""

import re
from pathlib import Path

from testbed import foreign
from testbed.errors import UsageError
from testbed.model.population import Population, parse
from testbed.naming import instead
from testbed.nat.load import find as profile
from testbed.places import PACKAGE

FOLDER = PACKAGE / "populations"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def population(word: str) -> Population:
    """That which ``word`` means, a name or a path; UsageError, also for profiles of no file."""
    own = word.endswith(".toml") or "/" in word
    if not own and word not in NAMES:
        raise UsageError(f"unknown population {word!r}", remedy=instead(word, NAMES))
    path = Path(word).expanduser() if own else FOLDER / f"{word}.toml"
    if not _NAME.fullmatch(path.stem) or (own and path.stem in NAMES):
        raise UsageError(
            f"{path}: the file's name is the population's, and does not do for one",
            remedy="letters, digits, '_' and '-', and not the name of one of ours",
        )
    try:
        text = foreign.read_text(path, foreign.WRITTEN, named=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    found = parse(text, path.stem, str(path))
    for name in found.shares:
        profile(name)
    return found
