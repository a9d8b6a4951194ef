"""How many packets each rule refused: the counters of a router's rules, by their comment.

Rules that drop or reject carry the reason as their comment (`nat-profiles/rules`),
nftables' in the rule's user data, iptables' in its comment match.  One netlink dump
reads both, as long as iptables is the one on nftables; for the older one, which the
kernel keeps elsewhere, ``iptables-save`` is asked.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from testbed.lab.netfilter import NFTABLES, attributes, dump, each_attribute
from testbed.model.lab import Lab
from testbed.model.plan import Engine, LoadRules

_GET_RULES = NFTABLES | 7  # NFT_MSG_GETRULE
_EXPRESSIONS, _USER_DATA = 4, 7  # NFTA_RULE_*
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
_NAME, _DATA = 1, 2  # NFTA_EXPR_*
_COUNTER = b"counter\0"  # the name of an expression that few rules have, and all that refuse
_PACKETS = 2  # NFTA_COUNTER_*
_MATCH_NAME, _MATCH_INFO = 1, 3  # NFTA_MATCH_*, NFTA_TARGET_*
_VALUE, _VERDICT, _CODE = 2, 2, 1  # NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE
_DROP = bytes(4)  # NF_DROP
_SAVED = re.compile(r"^\[(\d+):\d+\] .* --comment (\S+) .*-j (?:DROP|REJECT)\b", re.MULTILINE)


def drops(lab: Lab, node: str) -> dict[str, int]:
    """Packets refused in ``node`` since its rules were loaded: reason -> how many.

    Reasons that no packet met are there, with 0.  BackendError when nobody tells.
    """
    dumped = (body for body in dump(lab, node, _GET_RULES) if _COUNTER in body)
    rules = [_refusal(attributes(body)) for body in dumped]
    counted = _sums(rule for rule in rules if rule)
    engines = {step.engine for step in lab.plan.of(LoadRules) if step.node == node}
    if not counted and Engine.IPTABLES in engines:
        text = lab.run(node, ["iptables-save", "-c", "-t", "filter"]).decode()
        return _sums(saved(text))
    return counted


def _sums(rules: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Several rules may have one reason."""
    counted: dict[str, int] = {}
    for reason, packets in rules:
        counted[reason] = counted.get(reason, 0) + packets
    return counted


def saved(text: str) -> Iterator[tuple[str, int]]:
    """(reason, packets) of each refusing rule in the words of ``iptables-save -c``."""
    for found in _SAVED.finditer(text):
        yield found[2], int(found[1])


def _refusal(rule: Mapping[int, bytes]) -> tuple[str, int] | None:
    """Reason and packets of a rule that refuses, counts and says why; else None."""
    reason, packets, refuses = _comment(rule.get(_USER_DATA, b"")), None, False
    if not reason and b"comment" not in rule.get(_EXPRESSIONS, b""):
        return None
    for _, expression in each_attribute(rule.get(_EXPRESSIONS, b"")):
        parts = attributes(expression)
        name, data = parts[_NAME].rstrip(b"\0"), attributes(parts.get(_DATA, b""))
        if name == b"counter":
            packets = int.from_bytes(data[_PACKETS], "big")
        elif name == b"immediate":
            verdict = attributes(attributes(data[_VALUE]).get(_VERDICT, b""))
            refuses |= verdict.get(_CODE) == _DROP
        elif name == b"match" and _word(data[_MATCH_NAME]) == "comment":
            reason = _word(data[_MATCH_INFO])
        elif name == b"target":
            refuses |= _word(data[_MATCH_NAME]) == "REJECT"
        refuses |= name == b"reject"
    return (reason, packets) if reason and refuses and packets is not None else None


def _comment(user_data: bytes) -> str:
    """nft's comment: its user data is a list of type, length, value, a byte the first two."""
    while len(user_data) > 2:
        kind, length = user_data[:2]
        if kind == _COMMENT:
            return _word(user_data[2 : 2 + length])
        user_data = user_data[2 + length :]
    return ""


def _word(data: bytes) -> str:
    """A C string in a field that may be longer."""
    return data.partition(b"\0")[0].decode(errors="replace")
