"""What nft's ``include`` brings in: files of the rules' own folder, and no others.

The tool would read any file of this machine, and cite it in its complaint.
"""

import re
from pathlib import Path

from testbed import foreign
from testbed.errors import UsageError

_DEEPEST = 16  # as nft has it
# A text in quotes or a comment, which say nothing; else the word, and what it names.
_INCLUDE = re.compile(
    r"""(?P<skip>\#[^\n]*)|(?<![\w./-])include\s*(?:"(?P<a>[^"\n]*)"|'(?P<b>[^'\n]*)'|(?P<c>[^\s;]*))"""
    r"""|(?P<text>"[^"\n]*")""",
)
_REMEDY = "put the files together, or take what `nft list ruleset` prints"


def with_includes(path: Path, text: str, depth: int = 0) -> str:
    """``text``, the rules of ``path``, with the text of each file that it includes in its place.

    UsageError naming file and line of an include that leads out of the folder of ``path``, or
    that names what is no file there.
    """
    home = path.parent.resolve()

    def brought(found: re.Match[str]) -> str:
        if found["skip"] is not None or found["text"] is not None:
            return found[0]
        where = f"{path}:{text.count(chr(10), 0, found.start()) + 1}"
        word = next(one for one in (found["a"], found["b"], found["c"]) if one is not None)
        wanted = (home / word).resolve()
        if not wanted.is_relative_to(home) or depth >= _DEEPEST:
            raise UsageError(f"{where}: include {word!r} is refused", remedy=_REMEDY)
        try:
            inner = foreign.read_text(wanted, foreign.WRITTEN)
        except (OSError, ValueError) as error:
            raise UsageError(f"{where}: include {word!r}: {error}", remedy=_REMEDY) from error
        return f"\n{with_includes(home / word, inner, depth + 1)}\n"

    return _INCLUDE.sub(brought, text)
