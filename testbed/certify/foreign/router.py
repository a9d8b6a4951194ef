"""Somebody's rules in a router: read from a file, loaded, asked what they have matched."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from testbed import foreign
from testbed.certify.foreign import iptables, nftables
from testbed.certify.foreign.bench import ROUTER
from testbed.certify.foreign.includes import with_includes
from testbed.certify.foreign.rule import BEYOND, Action, Ruleset
from testbed.errors import BackendError, UsageError
from testbed.lab.kernel import write_sysctl
from testbed.lab.loading import LOADERS
from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab
from testbed.model.plan import Engine, Plan

_DEADLINE = 20.0  # seconds for a tool
_TABLE = re.compile(r"^\s*\*(nat|filter|mangle|raw|security)\s*$", re.MULTILINE)
_COMMITTED = re.compile(r"^\s*(COMMIT|-[AINP] \S+|:\S+ \S+)", re.MULTILINE)
_NFT = re.compile(
    r"^\s*(table\s+(?:(?:ip|ip6|inet|arp|bridge|netdev)\s+)?\S+\s*\{"
    r"|(?:add|create|insert|flush|delete|destroy)\s+(?:table|chain|rule|ruleset|set|map)\b)",
    re.MULTILINE,
)
_SCRIPT = re.compile(r"^\s*(?:sudo\s+)?\S*ip(?:6)?tables(?:-nft|-legacy)?\s+-", re.MULTILINE)
_BY_INDEX = re.compile(r"\b[io]if\s+(?:!=\s*)?(?:\"([^\"]+)\"|([A-Za-z][\w.@-]*))")
_HERE = re.compile(r"iptables-restore[^\n]*<<-?\s*['\"]?(\w+)['\"]?\n(.*?)\n\s*\1\s*$", re.S | re.M)


def read(path: Path) -> tuple[Engine, str]:
    """The text for the tool that the file's content is for; its name says nothing.  UsageError."""
    try:
        text = foreign.read_text(path, foreign.WRITTEN, named=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    if here := _HERE.search(text):
        text = "\n" * text[: here.start(2)].count("\n") + here[2] + "\n"
    if _TABLE.search(text) and _COMMITTED.search(text):
        return Engine.IPTABLES, text
    text = with_includes(path, text)
    if _NFT.search(text):
        return Engine.NFTABLES, text
    if _SCRIPT.search(text):
        raise UsageError(
            f"{path} is a script of iptables commands, which would have to be run",
            remedy="run it where it belongs, and take what iptables-save prints",
        )
    raise UsageError(
        f"{path} has neither a table of iptables-save (*nat ... COMMIT) nor one of nft (table ...)",
        remedy="on the router: iptables-save > mine.rules, or nft list ruleset > mine.nft",
    )


def understood(path: Path, engine: Engine, text: str, steps: Plan) -> Ruleset:
    """The rules as the tool itself lists them, loaded in a router of their own.

    UsageError with the tool's complaint and its line, if it does not take them.
    """
    with Namespaces().start(steps) as lab:
        if engine is Engine.NFTABLES:
            _lay_by_index(lab, text)
        load(lab, path, engine, text)
        if engine is Engine.IPTABLES:
            return Ruleset(engine, text, tuple(iptables.rules(_run(lab, "iptables-save"))))
        listed = _run(lab, "nft", "-j", "list", "ruleset")
        printed = _run(lab, "nft", "-a", "list", "ruleset")
        return Ruleset(engine, text, tuple(nftables.rules(listed, printed)))


def _lay_by_index(lab: Lab, text: str) -> None:
    """Interfaces that rules speak of by index (``iif``) have to be there to be spoken of."""
    names = {one or other for one, other in _BY_INDEX.findall(text)}
    for name in sorted(names - lab.interfaces(ROUTER)):
        try:
            lab.run(ROUTER, ["ip", "link", "add", name, "type", "bridge"])
        except BackendError:
            continue  # nft will say what is wrong with that name


def load(lab: Lab, path: Path, engine: Engine, text: str) -> None:
    """Into the bench's router; UsageError naming the file and the tool's complaint."""
    tool = LOADERS[engine][0]
    try:
        lab.run(ROUTER, LOADERS[engine], input=text.encode(), timeout=_DEADLINE)
    except BackendError as error:
        said = _complaint(error.message, engine, text)
        version = _run(lab, tool, "--version").strip()
        offload = "flowtable" in text
        raise UsageError(
            f"{path}: {version} does not take it: {said}",
            remedy=f"flow tables take {BEYOND[Action.OFFLOAD]}: measure a copy without them"
            if offload
            else None,
        ) from error


def _jump(text: str, target: str) -> int | None:
    """The line of the first rule that leads to ``target``."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(rf"-[jg]\s+{re.escape(target)}(\s|$)", line):
            return number
    return None


def _complaint(message: str, engine: Engine, text: str) -> str:
    """What the tool says, its first error with the line's number in words of its own."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if engine is Engine.IPTABLES:
        # A jump to nowhere is found when the table is committed: the tool names that line.
        nowhere = re.search(r"Chain '(\S+)' does not exist", message)
        if nowhere and (number := _jump(text, nowhere[1])):
            return f"line {number}: there is no chain or target {nowhere[1]}"
        line = next((found for one in lines if (found := re.search(r"line:? (\d+)", one))), None)
        told = "; ".join(lines)
        return f"line {line[1]}: {told}" if line else told
    for number, one in enumerate(lines):
        if found := re.search(r"/dev/stdin:(\d+):[\d-]+: (.*)", one):
            quoted = lines[number + 1] if number + 1 < len(lines) else ""
            return f"line {found[1]}: {found[2]}: {quoted}".rstrip(": ")
    return "; ".join(lines)


def set_sysctls(lab: Lab, sysctls: tuple[tuple[str, str], ...]) -> None:
    """In the bench's router, forwarding last."""

    def write() -> int:
        for key, value in sysctls:
            write_sysctl(key, value)
        return 0

    if code := lab.spawn(ROUTER, write).wait(_DEADLINE):
        raise BackendError(f"the sysctls were not written: {code}", node=ROUTER)


def count(lab: Lab, ruleset: Ruleset) -> None:
    """Have the router count what each rule matches, where its tool does not by itself."""
    if ruleset.engine is Engine.IPTABLES:
        return
    commands = nftables.counting(_run(lab, "nft", "-j", "list", "ruleset"))
    if commands and not _add(lab, commands):
        for command in commands:  # what one release of nft cannot read back, another can
            _add(lab, [command])


def _add(lab: Lab, commands: list[nftables.Json]) -> bool:
    text = json.dumps({"nftables": commands})
    try:
        lab.run(ROUTER, ["nft", "-j", "-f", "-"], input=text.encode(), timeout=_DEADLINE)
    except BackendError:
        return False
    return True


def counts(lab: Lab, ruleset: Ruleset) -> Mapping[str, int]:
    """How many packets each rule has matched, by its key; one that could not be counted is not."""
    if ruleset.engine is Engine.IPTABLES:
        return iptables.counts(_run(lab, "iptables-save", "-c"))
    return nftables.counts(_run(lab, "nft", "-j", "list", "ruleset"))


def _run(lab: Lab, *command: str) -> str:
    return lab.run(ROUTER, command, timeout=_DEADLINE).decode()
