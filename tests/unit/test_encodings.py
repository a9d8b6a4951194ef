"""No file is read or written in whatever encoding the user's locale has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("testbed/**/*.py"), *ROOT.glob("images/**/*.py")]


def unsaid(source: str) -> Iterator[int]:
    """The lines of calls that read or write text without saying in which encoding."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    for call in calls:
        if _is_text(call) and not any(word.arg == "encoding" for word in call.keywords):
            yield call.lineno


def _is_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    words = {word.arg: word.value for word in call.keywords}
    if name in ("run", "Popen", "check_output"):
        return any(_value(words.get(word)) is True for word in ("text", "universal_newlines"))
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute) and len(call.args) == (name == "write_text")
    if name not in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
        return False
    place = {"fdopen": 1, "open": 0 if isinstance(call.func, ast.Attribute) else 1}.get(name, 0)
    mode = words.get("mode", call.args[place] if len(call.args) > place else None)
    said = _value(mode)
    if isinstance(call.func, ast.Attribute) and name == "open":
        return isinstance(said, str) and said.strip("rwax+t") == ""
    return said is not None and "b" not in str(said) if "File" in name else "b" not in str(said)


def _value(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


@pytest.mark.parametrize(
    "call",
    [
        "path.read_text()",
        "path.write_text(text)",
        "open(path)",
        "open(path, 'w')",
        "path.open('a')",
        "os.fdopen(1, 'w')",
        "subprocess.run(words, text=True)",
        "subprocess.Popen(words, universal_newlines=True)",
        "tempfile.NamedTemporaryFile('w')",
    ],
)
def test_a_call_that_leaves_the_encoding_to_the_locale_is_found(call: str) -> None:
    assert list(unsaid(call)) == [1]
    comma = "" if call.endswith("()") else ", "
    assert list(unsaid(f"{call[:-1]}{comma}encoding='utf-8')")) == []


@pytest.mark.parametrize(
    "call", ["path.open('rb')", "os.open(p, 0)", "run(words)", "open(p, 'wb')"]
)
def test_bytes_have_no_encoding(call: str) -> None:
    assert list(unsaid(call)) == []


def test_every_text_file_of_the_product_says_that_it_is_utf_8() -> None:
    assert SOURCES
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in unsaid(path.read_text(encoding="utf-8"))
    ]
    assert found == []
