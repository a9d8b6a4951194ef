"""Files made odd: bytes, values and whole files, each mutant by its seed."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "xyzzy-nobody-may-read-this"
ORDERS = (
    "\x1b[2J\x1b]0;owned\x07", "\n::error::owned", "::warning file=a::owned", "##[error]owned",
    "\x9b31m", "\u202egnp.exe", "\x00", "\r\n::stop-commands::x", "\b\b\b",
    "<script>alert(1)</script>",
    "]]>", "](javascript:alert(1))", "{{7*7}}", "${HOME}", "$(id)", "%s%n", "[red]rich[/red][/]",
)  # fmt: skip
NUMBERS = (
    "9" * 4000, "-" + "9" * 400, "1e400", "-1", "1e-400", "0", "NaN", "Infinity", "-0", "2.5",
    str(1 << 63), str(1 << 64), "true", "null", "[]", "{}", '""', '"x"', "[[[[]]]]",
)  # fmt: skip
PATHS = (
    "/etc/passwd",
    "../../../../etc/passwd",
    "/dev/zero",
    "/proc/self/environ",
    "~",
    "\x00",
    "",
)
DEEP = 200_000
HUGE = 300 << 20  # bytes, of a file with a hole
Chance = random.Random


def mutated(folder: Path, seed: int, secret: Path) -> None:
    """Make one to three files below ``folder`` odd; ``secret`` is a file outside of it."""
    chance = Chance(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(chance.choice((1, 1, 2, 3))):
        file = chance.choice(files)
        if not file.is_file() or file.is_symlink():
            continue
        ways = (_bytes, _blocks if file.suffix == ".pcapng" else _words, _whole)
        chance.choices(ways, (4, 8, 2))[0](file, chance, secret)


def _whole(file: Path, chance: Chance, secret: Path) -> None:
    """Something else in place of the file."""
    text = file.read_bytes()
    file.unlink()
    device = chance.choice(("/dev/zero", "/dev/tty", "/proc/self/mem", "/"))
    made: tuple[Callable[[], object], ...] = (
        lambda: os.mkfifo(file),
        lambda: file.symlink_to(secret),
        lambda: file.symlink_to(device),
        lambda: file.symlink_to(file.name),
        file.mkdir,
        lambda: file.write_bytes(b""),
        lambda: _holed(file),
        lambda: file.write_bytes(b"[" * DEEP),
        lambda: file.write_bytes(b'{"a":' * DEEP),
        lambda: file.write_bytes(b"\xef\xbb\xbf" + text),
        lambda: None,  # it is gone
    )
    chance.choice(made)()


def _holed(file: Path) -> None:
    with file.open("wb") as made:
        made.truncate(HUGE)


def _bytes(file: Path, chance: Chance, _secret: Path) -> None:
    text = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 2, 8, 64))):
        at = chance.randrange(len(text) + 1)
        match chance.randrange(5):
            case 0:
                text[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                text[at : at + chance.randrange(1, 400)] = b""
            case 2:
                text[at:at] = chance.choice(
                    (b"\x00", b"\xff\xfe", b"\xc0\x80", b"\xed\xa0", b"\x1b[J")
                )
            case 3:
                text[at:at] = text[at : at + chance.randrange(1, 400)]
            case _:
                text[at:] = b""
    file.write_bytes(bytes(text))


def _blocks(file: Path, chance: Chance, secret: Path) -> None:
    """A capture whose blocks are whole, but for what they say: times, lengths, packets, places."""
    text = bytearray(file.read_bytes())
    starts, at = [], 0
    while at + 12 <= len(text):
        starts.append(at)
        at += max(12, int.from_bytes(text[at + 4 : at + 8], "little"))
    if not starts:
        return _bytes(file, chance, secret)
    for _ in range(chance.choice((1, 4, 40))):
        at = chance.choice(starts)
        size = int.from_bytes(text[at + 4 : at + 8], "little")
        inside = at + 8 + chance.randrange(max(1, size - 12))  # neither its type nor its lengths
        match chance.randrange(4):
            case 0:
                text[inside : inside + 1] = bytes([chance.randrange(256)])
            case 1:
                text[inside : inside + 4] = chance.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\0\0\0"))
            case 2:  # the frame's bytes from the IPv4 header on
                for odd in range(at + 42, min(at + 82, at + size - 4)):
                    if chance.random() < 0.1:
                        text[odd] = chance.randrange(256)
            case _:
                text[at : at + 4] = chance.choice((1, 5, 6, 7, 0x0A0D0D0A)).to_bytes(4, "little")
    file.write_bytes(bytes(text))
    return None


def _words(file: Path, chance: Chance, secret: Path) -> None:
    """A value of JSON, of a line of JSON or of TOML; bytes where it is none of them, or odd."""
    try:
        text = file.read_text("utf-8")
        if file.suffix == ".json":
            text = _odd_json(text, chance, secret)
        elif file.suffix == ".jsonl":
            lines = text.split("\n")
            at = chance.randrange(len(lines))
            lines[at] = _odd_json(lines[at] or "{}", chance, secret)
            text = "\n".join(lines)
        else:
            text = _odd_lines(text, chance, secret)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        _bytes(file, chance, secret)


def _odd_json(text: str, chance: Chance, secret: Path) -> str:
    value = json.loads(text)
    mark = "-odd-value-"
    changed = _replaced(value, chance, mark)
    odd = chance.choice((_order, _number, _path, _nothing))(chance, secret)
    return json.dumps(changed).replace(f'"{mark}"', odd)


def _order(chance: Chance, _secret: Path) -> str:
    return json.dumps(chance.choice(ORDERS) * chance.choice((1, 1, 1, 3000)))


def _number(chance: Chance, _secret: Path) -> str:
    return chance.choice(NUMBERS)


def _path(chance: Chance, secret: Path) -> str:
    return json.dumps(chance.choice((*PATHS, str(secret), str(secret.parent))))


def _nothing(chance: Chance, _secret: Path) -> str:
    return chance.choice(
        ("[" * 5000 + "]" * 5000, '{"a":' * 900 + "1" + "}" * 900, '"\\ud800"', "1 2")
    )


def _replaced(value: Any, chance: Chance, mark: str) -> Any:
    """``value`` with the mark somewhere in it, or with a key renamed, lost or added."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        if chance.random() < 0.06:
            return {name: one for name, one in value.items() if name != key}
        if chance.random() < 0.06:
            return {**value, chance.choice(ORDERS): mark}
        return {**value, key: _replaced(value[key], chance, mark)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], _replaced(value[at], chance, mark), *value[at + 1 :]]
    return mark


def _odd_lines(text: str, chance: Chance, secret: Path) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    key, is_, _ = lines[at].partition("=")
    odd: Callable[[Chance, Path], str] = chance.choice((_order, _number, _path, _nothing))
    match chance.randrange(5):
        case 0 if is_:
            lines[at] = f"{key}= {odd(chance, secret)}"
        case 1:
            lines[at:at] = [
                chance.choice((f'include "{secret}"', f"include {secret};", 'include "/etc/*"'))
            ]
        case 2:
            lines[at:at] = [lines[at]] * chance.choice((1, 2, 4000))
        case 3:
            lines[at] = lines[at].replace('"', '"' + chance.choice(ORDERS).replace("\n", "\\n"), 1)
        case _:
            lines[at] = f"{lines[at]} {odd(chance, secret)}"
    return "\n".join(lines)
