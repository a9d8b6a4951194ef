"""What ``nft -j list ruleset`` prints, as rules; and rules of ours that count theirs.  Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from testbed.certify.foreign.rule import Action, Addresses, Rule, network, span
from testbed.model.behaviour import Protocol

_ACTIONS = {
    "masquerade": Action.MASQUERADE,
    "snat": Action.SNAT,
    "dnat": Action.DNAT,
    "redirect": Action.REDIRECT,
    "tproxy": Action.TPROXY,
    "queue": Action.QUEUE,
    "flow": Action.OFFLOAD,
    "accept": Action.ACCEPT,
}
_IN, _OUT = ("iifname", "iif"), ("oifname", "oif")
_MARK = "testbed counts "  # how a rule of ours says whose matches it counts
_STATEFUL = ("numgen",)  # what reading changes
_PROTOCOLS = {str(protocol) for protocol in Protocol}
_FAMILIES = ("ip", "inet", "bridge", "netdev")
_TABLE = re.compile(r"table (\S+) (\S+) \{")
_HANDLE = re.compile(r"\s*(.*[^{\s])\s+# handle (\d+)")

Json = Any


def rules(listed: str, printed: str) -> Iterator[Rule]:
    """Every IPv4 rule of the list; ``printed`` is what ``nft -a list ruleset`` says of the same."""
    objects = _objects(listed)
    sets, texts = _sets(objects), _texts(printed)
    for rule in _each(objects):
        for one in _rules(rule, sets):
            text = texts.get((rule["family"], rule["table"], rule["handle"]), one.text)
            yield replace(one, text=f"{one.chain}: {text}")


def _texts(printed: str) -> dict[tuple[str, str, int], str]:
    """Each line that has a handle, by family, table and handle."""
    found, family, table = {}, "", ""
    for line in printed.splitlines():
        if opened := _TABLE.match(line):
            family, table = opened[1], opened[2]
        elif handle := _HANDLE.fullmatch(line):
            found[family, table, int(handle[2])] = handle[1]
    return found


def counting(listed: str) -> list[Json]:
    """Commands that put before each rule one that counts what it matches, and does nothing."""
    commands = []
    for rule in _each(_objects(listed)):
        matches = [one for one in rule["expr"] if "match" in one]
        if any(word in json.dumps(matches) for word in _STATEFUL):
            continue
        place = {name: rule[name] for name in ("family", "table", "chain")}
        counter = {"counter": {"packets": 0, "bytes": 0}}
        made = {**place, "handle": rule["handle"], "comment": f"{_MARK}{_key(rule)}"}
        commands.append({"insert": {"rule": {**made, "expr": [*matches, counter]}}})
    return commands


def counts(listed: str) -> dict[str, int]:
    """How many packets each rule has matched, by its key, where `counting` has asked."""
    found = {}
    for rule in _each(_objects(listed), ours=True):
        counter = next((one["counter"] for one in rule["expr"] if "counter" in one), None)
        if isinstance(counter, dict):
            found[rule["comment"].removeprefix(_MARK)] = int(counter["packets"])
    return found


def _objects(listed: str) -> list[Mapping[str, Json]]:
    return list(json.loads(listed)["nftables"])


def _each(objects: list[Mapping[str, Json]], *, ours: bool = False) -> Iterator[dict[str, Json]]:
    for one in objects:
        rule = one.get("rule")
        if rule is None or rule["family"] not in _FAMILIES:
            continue
        if str(rule.get("comment", "")).startswith(_MARK) == ours:
            # What one release of nft cannot say in JSON stands there as a mere string.
            yield {**rule, "expr": [part for part in rule["expr"] if isinstance(part, dict)]}


def _key(rule: Mapping[str, Json]) -> str:
    return f"{rule['family']} {rule['table']} {rule['chain']} {rule['handle']}"


def _sets(objects: list[Mapping[str, Json]]) -> dict[tuple[str, str, str], Json]:
    found = {}
    for one in objects:
        named = one.get("set") or one.get("map")
        if named is not None:
            found[named["family"], named["table"], named["name"]] = named.get("elem", [])
    return found


def _rules(rule: Mapping[str, Json], sets: Mapping[tuple[str, str, str], Json]) -> Iterator[Rule]:
    """One rule, or as many as its verdict map has entries."""
    reader = _Reader(rule, sets)
    last = rule["expr"][-1] if rule["expr"] else {}
    base = reader.matched()
    if "vmap" not in last:
        yield reader.rule(base, last)
        return
    key, data = last["vmap"]["key"], reader.resolved(last["vmap"]["data"])
    for entry in data if isinstance(data, list) else []:
        value, verdict = entry
        yield reader.rule(reader.merged(base, reader.one_match(key, value, "==")), verdict)


class _Reader:
    """Reads the expressions of one rule."""

    def __init__(self, rule: Mapping[str, Json], sets: Mapping[tuple[str, str, str], Json]) -> None:
        self._rule = rule
        self._sets = sets
        self._chain = f"{rule['family']} {rule['table']}"

    def rule(self, matched: Mapping[str, tuple[Any, ...]], last: Mapping[str, Json]) -> Rule:
        verb = next(iter(last), "")
        action = _ACTIONS.get(verb, Action.OTHER)
        jump = last.get("jump") or last.get("goto")
        if jump is not None:
            action = Action.JUMP
        body = last[verb] if isinstance(last.get(verb), dict) else {}
        port = body.get("port")
        return Rule(
            key=_key(self._rule),
            chain=f"{self._chain} {self._rule['chain']}",
            text="",
            action=action,
            jumps_to=f"{self._chain} {jump['target']}" if jump else None,
            came_in=matched.get("in", ()),
            goes_out=matched.get("out", ()),
            not_in=matched.get("not in", ()),
            not_out=matched.get("not out", ()),
            source=matched.get("source", ()),
            destination=matched.get("destination", ()),
            to=self.addresses(body.get("addr")) if action in (Action.SNAT, Action.DNAT) else (),
            to_port=port if isinstance(port, int) else None,
            protocol=next(iter(matched.get("protocol", ())), None),
            ports=matched.get("ports", ()),
        )

    def matched(self) -> dict[str, tuple[Any, ...]]:
        found: dict[str, tuple[Any, ...]] = {}
        for one in self._rule["expr"]:
            if match := one.get("match"):
                found = self.merged(
                    found, self.one_match(match["left"], match["right"], match["op"])
                )
        return found

    @staticmethod
    def merged(
        one: Mapping[str, tuple[Any, ...]], other: Mapping[str, tuple[Any, ...]]
    ) -> dict[str, tuple[Any, ...]]:
        return {key: (*one.get(key, ()), *other.get(key, ())) for key in {**one, **other}}

    def one_match(self, left: Json, right: Json, op: str) -> dict[str, tuple[Any, ...]]:
        if not isinstance(left, dict):
            return {}
        if "concat" in left:
            return self._concatenated(left["concat"], self.resolved(right), op)
        inverse = "not " if op == "!=" else ""
        meta = left.get("meta", {}).get("key", "")
        payload = left.get("payload", {})
        field = payload.get("field", "") if isinstance(payload, dict) else ""
        if meta in _IN or meta in _OUT:
            return {inverse + ("in" if meta in _IN else "out"): tuple(self._words(right))}
        if inverse:
            return {}
        if field in ("saddr", "daddr") and payload.get("protocol") == "ip":
            return {"source" if field == "saddr" else "destination": self.addresses(right)}
        if field == "dport":
            elements = self.resolved(right)
            ports = elements if isinstance(elements, list) else [elements]
            named = payload.get("protocol", "")
            known = (Protocol(named),) if named in _PROTOCOLS else ()
            return {"ports": tuple(p for p in ports if isinstance(p, int)), "protocol": known}
        if meta == "l4proto" and isinstance(right, str) and right in _PROTOCOLS:
            return {"protocol": (Protocol(right),)}
        return {}

    def _concatenated(self, lefts: Json, right: Json, op: str) -> dict[str, tuple[Any, ...]]:
        found: dict[str, tuple[Any, ...]] = {}
        for entry in right if isinstance(right, list) else [right]:
            parts = entry.get("concat", []) if isinstance(entry, dict) else []
            for left, part in zip(lefts, parts, strict=False):
                found = self.merged(found, self.one_match(left, part, op))
        return found

    def resolved(self, value: Json) -> Json:
        """The elements of a set, named or not; anything else as it is."""
        if isinstance(value, str) and value.startswith("@"):
            key = (self._rule["family"], self._rule["table"], value[1:])
            return self._sets.get(key, [])
        if isinstance(value, dict) and "set" in value:
            return value["set"]
        return value

    def _words(self, value: Json) -> Iterator[str]:
        value = self.resolved(value)
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for one in value:
                yield from self._words(one)
        elif isinstance(value, dict) and "elem" in value:
            yield from self._words(value["elem"].get("val"))

    def addresses(self, value: Json) -> Addresses:
        """Every address in an expression, the keys of maps aside."""
        value = self.resolved(value)
        if isinstance(value, str):
            found = network(value)
            return (found,) if found is not None else ()
        if isinstance(value, list):
            return tuple(one for each in value for one in self.addresses(each))
        if not isinstance(value, dict):
            return ()
        if "prefix" in value:
            return self.addresses(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        if "range" in value:
            return span(*map(str, value["range"]))
        if "elem" in value:
            return self.addresses(value["elem"].get("val"))
        if "map" in value:
            data = self.resolved(value["map"]["data"])
            pairs = data if isinstance(data, list) else []
            return tuple(one for _, each in pairs for one in self.addresses(each))
        if "concat" in value:
            return self.addresses(value["concat"])
        return ()
