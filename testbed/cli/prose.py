"""The text of a command's help, from its docstring."""

import inspect
from collections.abc import Callable


def flowing(command: Callable[..., object]) -> str | None:
    """The docstring with each paragraph in one line, which a terminal breaks at its own width.

    Lines of examples, which have columns or begin with the program, stay.  None without one.
    """
    doc = inspect.getdoc(command)
    if doc is None:
        return None
    return "\n\n".join(
        part if _is_table(part) else " ".join(part.split()) for part in doc.split("\n\n")
    )


def _is_table(part: str) -> bool:
    return any("   " in line.strip() or line.startswith("testbed ") for line in part.splitlines())
