"""What iptables-save prints, as rules.  Pure."""

import re
import shlex
from collections.abc import Iterator, Sequence

from testbed.certify.foreign.rule import Action, Rule, spelled
from testbed.model.behaviour import Protocol

_ACTIONS = {
    "MASQUERADE": Action.MASQUERADE,
    "SNAT": Action.SNAT,
    "DNAT": Action.DNAT,
    "NETMAP": Action.SNAT,  # in PREROUTING: DNAT
    "REDIRECT": Action.REDIRECT,
    "TPROXY": Action.TPROXY,
    "NFQUEUE": Action.QUEUE,
    "QUEUE": Action.QUEUE,
    "FLOWOFFLOAD": Action.OFFLOAD,
    "ACCEPT": Action.ACCEPT,
}
_COUNTED = re.compile(r"\[(\d+):\d+\] (-A \S+.*)")
_BASES = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_PORTS = ("--dport", "--dports", "--ports")
_TO = ("--to-source", "--to-destination", "--to")


def rules(saved: str) -> Iterator[Rule]:
    """Every rule of ``iptables-save``, with counters (``-c``) or without."""
    for table, line in _lines(saved):
        counted = _COUNTED.fullmatch(line)
        line = counted[2] if counted else line
        if line.startswith("-A "):
            yield _rule(table, line)


def counts(saved: str) -> dict[str, int]:
    """How many packets each rule has matched, by its key: of ``iptables-save -c``."""
    found: dict[str, int] = {}
    for table, line in _lines(saved):
        if counted := _COUNTED.fullmatch(line):
            key = _key(table, counted[2])
            found[key] = found.get(key, 0) + int(counted[1])
    return found


def _lines(saved: str) -> Iterator[tuple[str, str]]:
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table:
            yield table, line.strip()


def _key(table: str, line: str) -> str:
    return f"{table} {line}"


def _rule(table: str, line: str) -> Rule:
    words = shlex.split(line)
    chain = words[1]
    options = list(_options(words[2:]))
    given = {name: values for name, negated, values in options if not negated}
    target = next((values[0] for n, _, values in options if n in ("-j", "-g") and values), "")
    action = _ACTIONS.get(target, Action.OTHER if not target or target.isupper() else Action.JUMP)
    if target and target not in _ACTIONS and not _known(target):
        action = Action.JUMP
    if target == "NETMAP" and chain == "PREROUTING":
        action = Action.DNAT
    if target == "CT" or target in _BASES:
        action = Action.OTHER
    told = next((given[name][0] for name in _TO if given.get(name)), "")
    address, _, port = told.partition(":")
    protocol = given.get("-p", ("",))[0]
    named = ",".join(given[name][0] for name in _PORTS if given.get(name))
    return Rule(
        key=_key(table, line),
        chain=f"{table} {chain}",
        text=f"-t {table} {line}",
        action=action,
        jumps_to=f"{table} {target}" if action is Action.JUMP else None,
        came_in=_values(options, ("-i", "--physdev-in"), negated=False),
        goes_out=_values(options, ("-o", "--physdev-out"), negated=False),
        not_in=_values(options, ("-i",), negated=True),
        not_out=_values(options, ("-o",), negated=True),
        source=tuple(n for text in _values(options, _SOURCE, negated=False) for n in spelled(text)),
        destination=tuple(
            n for text in _values(options, _DESTINATION, negated=False) for n in spelled(text)
        ),
        to=spelled(address) if action in (Action.SNAT, Action.DNAT) else (),
        to_port=int(port) if port.isdigit() else None,
        protocol=Protocol(protocol) if protocol in {str(p) for p in Protocol} else None,
        ports=tuple(int(word) for word in named.split(",") if word.isdigit()),
    )


_SOURCE = ("-s", "--src-range")
_DESTINATION = ("-d", "--dst-range")
_TARGETS = {
    *("DROP", "REJECT", "RETURN", "LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TCPMSS", "NOTRACK"),
    *("DSCP", "TOS", "TTL", "CLASSIFY", "CHECKSUM", "SET", "TEE", "TRACE", "SYNPROXY", "ULOG"),
    *("SECMARK", "CONNSECMARK", "HMARK", "IDLETIMER", "LED", "RATEEST", "AUDIT", "ECN", "HL"),
}


def _known(target: str) -> bool:
    return target in _TARGETS


def _values(
    options: Sequence[tuple[str, bool, tuple[str, ...]]], names: Sequence[str], *, negated: bool
) -> tuple[str, ...]:
    return tuple(
        values[0]
        for name, inverse, values in options
        if name in names and inverse is negated
        if values
    )


def _options(words: Sequence[str]) -> Iterator[tuple[str, bool, tuple[str, ...]]]:
    """Each option with what follows it, and whether ``!`` stands before it."""
    position, negated = 0, False
    while position < len(words):
        word = words[position]
        position += 1
        if word == "!":
            negated = True
            continue
        values = []
        while position < len(words) and words[position] != "!" and words[position][:1] != "-":
            values.append(words[position])
            position += 1
        yield word, negated, tuple(values)
        negated = False
