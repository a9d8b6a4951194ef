"""A measured NAT in words: a profile as TOML, and the nearest of the catalogue."""

import json
from collections.abc import Iterator, Sequence, Set
from dataclasses import fields
from typing import Any

from testbed.certify.derive import Derived, Omitted, Why, not_default
from testbed.certify.measured import Value
from testbed.certify.nearest import Near
from testbed.model.behaviour import Behaviour, PortMapping, PortRange, Protocol, Timeouts, Transport
from testbed.words import sentence

_WHY = {
    Why.NOT_OBSERVED: "not observed",
    Why.NO_WORD: "no profile can say that",
    Why.PROTOCOLS_DIFFER: "UDP and TCP differ, and a profile has one word for both",
    Why.HOSTS_DIFFER: "one LAN host gets what others do not, and a profile has one word for all",
    Why.SAMPLE: "these are the ports that were seen, and not the range",
    Why.NOT_HELD: "no rules of the testbed hold that together with the rest",
    Why.KERNELS: "the kernel's timer, which was shortened for the test: take it from your router",
    Why.BEYOND: "a profile has no key for that",
}
TIMERS = (
    "Timers that the rules leave to the kernel were shortened for the test, to 2 and 3 s: "
    "they say nothing of your router."
)
_ALWAYS = ("mapping", "filtering", "allocation")  # said also where they are the defaults
_WIDTH = 110


def toml(derived: Derived, subject: str, near: Sequence[Near]) -> str:
    """The profile, with what it does not say in comments."""
    return "\n".join(_lines(derived, subject, near)) + "\n"


def _lines(derived: Derived, subject: str, near: Sequence[Near]) -> Iterator[str]:
    yield f"title = {_text(f'As measured: {subject}')}"
    yield 'met = "say where such a NAT is met"'
    yield f"source = {_text(f'testbed nat probe, of {subject}')}"
    behaviour, engine = derived.behaviour, derived.engine
    yield f'engine = "{engine}"'
    yield from _table(behaviour, Behaviour(), ("udp", "tcp", "timeouts", "port_mapping"))
    yield from _transports(behaviour, {one.axis for one in derived.omitted})
    for name, value, default in (
        ("timeouts", behaviour.timeouts, Timeouts()),
        ("port_mapping", behaviour.port_mapping, PortMapping()),
    ):
        if said := list(_table(value, default)):
            yield from ("", f"[{name}]", *said)
    if derived.omitted:
        yield from ("", "# Not claimed:")
        yield from (_omitted(one) for one in derived.omitted)
    yield from ("", *(f"# {line}" for line in nearest(near)))


def _transports(behaviour: Behaviour, omitted: Set[str]) -> Iterator[str]:
    """What both protocols have in common stands in [both]."""
    udp, tcp = (dict(_said(behaviour.transport(p), p, omitted)) for p in Protocol)
    both = {key: value for key, value in udp.items() if tcp.get(key) == value}
    for name, said in (
        ("both", both),
        ("udp", {k: v for k, v in udp.items() if k not in both}),
        ("tcp", {k: v for k, v in tcp.items() if k not in both}),
    ):
        if said:
            yield from ("", f"[{name}]", *(f"{key} = {_value(v)}" for key, v in said.items()))


def _said(transport: Transport, protocol: Protocol, omitted: Set[str]) -> Iterator[tuple[str, Any]]:
    """What is not the default, and what matters most; nothing that was not measured."""
    changed = dict(not_default(transport, Transport()))
    for field in fields(transport):
        always = field.name in _ALWAYS and not transport.blocked
        always = always and f"{protocol}.{field.name}" not in omitted
        if field.name in changed or always:
            yield field.name, getattr(transport, field.name)


def _table(value: Any, default: Any, skipped: Sequence[str] = ()) -> Iterator[str]:
    for key, said in not_default(value, default):
        if key not in skipped:
            yield f"{key} = {_value(said)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, PortRange):
        return f"{{ first = {value.first}, last = {value.last} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, int) else _text(value)


def _text(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)  # a basic string of TOML, too


def _omitted(one: Omitted) -> str:
    value = "" if one.finding.value is None else f" {_seen(one.finding.value)}"
    line = f"#   {one.axis}:{value} ({_WHY[one.why]}; {sentence(one.finding.evidence)})"
    return _cut(line)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _seen(value: Value) -> str:
    if isinstance(value, tuple):
        return " to ".join("more" if part is None else str(part) for part in value)
    return _value(value) if isinstance(value, bool) else str(value)


def nearest(near: Sequence[Near]) -> Iterator[str]:
    """The nearest of the catalogue, and the axes on which they differ, timers aside."""
    if not near:
        return
    best = near[0]
    how = f"differs on {len(best.differs)} of {_axes(best)} axes, timers aside"
    yield f"The nearest profile is {best.profile.name}: it {how}."
    for row in best.differs:
        yield _cut(f"  {row.axis}: {best.profile.name} has {row.declared}, measured {row.measured}")
    others = [f"{one.profile.name} ({len(one.differs)})" for one in near[1:]]
    if others:
        yield f"Next are, with the number of axes that differ: {', '.join(others)}."


def _axes(near: Near) -> int:
    return near.agrees + len(near.differs)
