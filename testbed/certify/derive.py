"""A profile out of a measurement: what the prober saw, as a claim that can be certified.  Pure.

What was not measured is not claimed, and is told; so is what no profile can say.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from testbed.certify.claims import compare
from testbed.certify.measured import (
    AT_LEAST_ADDRESS,
    PRESERVING_WITHIN,
    Finding,
    Measured,
    MeasuredTransport,
    Value,
)
from testbed.errors import ProfileError
from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Exposed,
    Filtering,
    Hairpin,
    Mapping,
    Pooling,
    PortMapping,
    PortRange,
    Protocol,
    Refresh,
    Timeouts,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.nat.limits import refusals

_ENGINES = (Engine.NFTABLES, Engine.IPTABLES)
_SPREAD = 4  # ports that scatter over a range span at least its size by this
TIMERS = ("timeout_udp", "timeout_udp_stream", "timeout_tcp_transitory", "timeout_tcp_established")
# What a profile has no word for, and the word that it may have instead.
_NEAREST = {
    AT_LEAST_ADDRESS: Mapping.ADDRESS_AND_PORT_DEPENDENT,
    PRESERVING_WITHIN: Allocation.PRESERVING,
}


class Why(StrEnum):
    """Why an axis is not in the profile."""

    NOT_OBSERVED = "not_observed"
    NO_WORD = "no_word"  # what was measured is no behaviour that a profile can claim
    PROTOCOLS_DIFFER = "protocols_differ"  # one key stands for both, and they do not agree
    HOSTS_DIFFER = "hosts_differ"  # what one LAN host gets, another does not
    SAMPLE = "sample"  # ports were seen, the range was not
    NOT_HELD = "not_held"  # no rules of ours hold it together with the rest
    KERNELS = (
        "kernels"  # a timer that the rules leave to the kernel, whose ours was set for the test
    )
    BEYOND = "beyond"  # a profile has no key for it, and as a whole makes something else of it


class Omitted(FrozenValue):
    """An axis that the profile does not claim as measured."""

    axis: str
    why: Why
    finding: Finding


class Derived(FrozenValue):
    """A behaviour that `engine` can hold, and what of the measurement is not in it."""

    behaviour: Behaviour
    engine: Engine
    omitted: tuple[Omitted, ...]


def derive(measured: Measured, *, mappings: int, kernel: Timeouts | None = None) -> Derived:
    """The behaviour that claims what was measured, and no more; ProfileError if there is none.

    ``kernel`` has the timers that the kernel was given for the test: those say nothing of the NAT.
    """
    maker = _Maker(measured, kernel)
    behaviour, engine, given_up = _held(maker.behaviour())
    for axis in given_up:
        maker.omit(axis, Why.NOT_HELD)
    lost = {omitted.axis for omitted in maker.omitted}
    for row in compare(behaviour, measured, mappings=mappings):
        if not row.agrees and row.axis not in lost:
            maker.omit(row.axis, Why.BEYOND)
    return Derived(behaviour, engine, tuple(maker.omitted))


def _held(behaviour: Behaviour) -> tuple[Behaviour, Engine, tuple[str, ...]]:
    """As much of ``behaviour`` as one engine holds, that engine, and what was given up."""
    given_up: tuple[str, ...] = ()
    tried = [behaviour]
    for change, axes in _CONCESSIONS:
        if (engine := _engine(tried[-1])) is not None:
            return tried[-1], engine, given_up
        changed = change(tried[-1])
        if changed != tried[-1]:
            tried.append(changed)
            given_up += axes
    raise ProfileError(f"no rules of ours behave like this: {'; '.join(_refusals(behaviour))}")


def _engine(behaviour: Behaviour) -> Engine | None:
    """The one that can hold it: where both can, nftables."""
    return next((e for e in _ENGINES if not list(refusals(_as_profile(behaviour, e)))), None)


def _refusals(behaviour: Behaviour) -> list[str]:
    found = [m for e in _ENGINES for m, _ in refusals(_as_profile(behaviour, e))]
    return list(dict.fromkeys(found))


def _as_profile(behaviour: Behaviour, engine: Engine) -> Profile:
    return Profile("measured", "-", "-", "-", engine, behaviour)


def _for_both(**changes: Any) -> Callable[[Behaviour], Behaviour]:
    def change(behaviour: Behaviour) -> Behaviour:
        udp, tcp = (dataclasses.replace(t, **changes) for t in (behaviour.udp, behaviour.tcp))
        return dataclasses.replace(behaviour, udp=udp, tcp=tcp)

    return change


def _one_timer(behaviour: Behaviour) -> Behaviour:
    timers = dataclasses.replace(behaviour.timeouts, udp=behaviour.timeouts.udp_stream)
    return dataclasses.replace(behaviour, timeouts=timers)


def _one_address(behaviour: Behaviour) -> Behaviour:
    return dataclasses.replace(behaviour, pooling=None)


def _silent(behaviour: Behaviour) -> Behaviour:
    return dataclasses.replace(behaviour, wan_input=WanInput.DROP)


# What is given up where no engine holds all, the least harm first.
_CONCESSIONS: tuple[tuple[Callable[[Behaviour], Behaviour], tuple[str, ...]], ...] = (
    (_for_both(overloading=False), ("udp.overloading", "tcp.overloading")),
    (_one_timer, ("timeout_udp",)),
    (_one_address, ("udp.pooling", "tcp.pooling")),
    (_silent, ("udp.wan_input",)),
    (lambda behaviour: behaviour, ()),
)


class _Maker:
    """Takes the findings one by one, and notes those that come to nothing."""

    def __init__(self, measured: Measured, kernel: Timeouts | None) -> None:
        self._measured = measured
        self._kernel = kernel
        self._findings = dict(measured.axes())
        self.omitted: list[Omitted] = []

    def omit(self, axis: str, why: Why) -> None:
        self.omitted.append(Omitted(axis, why, self._findings[axis]))

    def behaviour(self) -> Behaviour:
        udp = self._transport(Protocol.UDP, self._measured.udp)
        tcp = self._transport(Protocol.TCP, self._measured.tcp)
        values: dict[str, Any] = {"udp": udp, "tcp": tcp}
        values["timeouts"] = self._timeouts(udp, tcp)
        values["port_mapping"] = self._port_mapping()
        common = {
            "hairpin": self._of_both("hairpin", Hairpin),
            "wan_input": self._of_both("wan_input", WanInput),
            "quota": self._quota(),
            "pooling": self._pooling(),
            "exposed": self._word("exposed", Exposed),
        }
        if not udp.blocked:
            common["refresh"] = self._word("refresh", Refresh)
        if self._findings["forwards"].value:
            self.omit("forwards", Why.NO_WORD)
        if self._findings["services_outside"].value:
            self.omit("services_outside", Why.NO_WORD)
        values |= {key: value for key, value in common.items() if value is not None}
        return Behaviour(**values)

    def _word(self, axis: str, kind: type[StrEnum]) -> Any:
        """The finding as a word of ``kind``; None, and noted, if it is none."""
        value = self._findings[axis].value
        if value in _NEAREST:
            self.omit(axis, Why.NO_WORD)
            return _NEAREST[str(value)]
        if value is None:
            self.omit(axis, Why.NOT_OBSERVED)
        elif value not in {str(word) for word in kind}:
            self.omit(axis, Why.NO_WORD)
        else:
            return kind(value)
        return None

    def _of_both(self, axis: str, kind: type[StrEnum]) -> Any:
        """Of an axis that is measured for each protocol and claimed for both."""
        found = {p: self._findings[f"{p}.{axis}"].value for p in Protocol}
        seen = {value for value in found.values() if value is not None}
        if not seen:
            self.omit(f"{Protocol.UDP}.{axis}", Why.NOT_OBSERVED)
            return None
        if len(seen) > 1:
            self.omit(f"{Protocol.TCP}.{axis}", Why.PROTOCOLS_DIFFER)
        shown = next(p for p, value in found.items() if value is not None)
        return self._word(f"{shown}.{axis}", kind)

    def _pooling(self) -> Pooling | None:
        """Where one address was seen, nothing of it is to be said."""
        seen = {self._findings[f"{p}.pooling"].value for p in Protocol} - {None}
        return self._of_both("pooling", Pooling) if seen else None

    def _quota(self) -> int | None:
        found = [self._findings[f"{p}.quota"].value for p in Protocol]
        numbers = {value for value in found if isinstance(value, int)}
        if len(numbers) == 1:
            return numbers.pop()
        if numbers:
            self.omit(f"{Protocol.UDP}.quota", Why.PROTOCOLS_DIFFER)
        return None

    def _transport(self, protocol: Protocol, found: MeasuredTransport) -> Transport:
        if found.blocked.value is True:
            unsolicited = self._word(f"{protocol}.unsolicited", Unsolicited)
            return Transport(blocked=True, unsolicited=unsolicited or Unsolicited.DROP)
        words = {
            "mapping": self._word(f"{protocol}.mapping", Mapping),
            "filtering": self._word(f"{protocol}.filtering", Filtering),
            "unsolicited": self._word(f"{protocol}.unsolicited", Unsolicited),
        }
        exposed = self._findings["exposed"].value
        if exposed == Exposed.FIRST_HOST:
            words["filtering"] = self._word(f"{protocol}.unexposed_filtering", Filtering)
        elif found.exposed_host.value is not None and exposed != Exposed.EACH_HOST:
            self.omit(f"{protocol}.filtering", Why.HOSTS_DIFFER)
            del words["filtering"]
        allowed = found.allowed_ports.value
        if isinstance(allowed, tuple):
            words["allowed_ports"] = tuple(int(str(port)) for port in allowed)
        if words["mapping"] is not Mapping.NONE:
            words["allocation"] = self._word(f"{protocol}.allocation", Allocation)
            if isinstance(found.overloading.value, bool):
                words["overloading"] = found.overloading.value
            else:
                self._word(f"{protocol}.overloading", Allocation)
            words["ports"] = self._ports(protocol, found, words["allocation"])
        return Transport(**{key: value for key, value in words.items() if value is not None})

    def _ports(
        self, protocol: Protocol, found: MeasuredTransport, allocation: Allocation | None
    ) -> PortRange | None:
        """All ports that a NAT may use, unless those seen lie too close together for that."""
        seen = found.ports.value
        if allocation in (None, Allocation.PRESERVING) or not isinstance(seen, tuple):
            return None
        low, high = (int(port) for port in seen if port is not None)
        if high - low + 1 == found.pool.value:  # all that there are
            return PortRange(low, high)
        self.omit(f"{protocol}.ports", Why.SAMPLE)
        usual = PortRange()
        scattered = allocation is not Allocation.SEQUENTIAL
        if low in usual and (not scattered or high - low >= usual.size / _SPREAD):
            return None
        return PortRange(low, high)

    def _timeouts(self, udp: Transport, tcp: Transport) -> Timeouts:
        given: dict[str, float] = {}
        for axis in TIMERS:
            blocked = udp.blocked if "udp" in axis else tcp.blocked
            seconds = _whole_seconds(self._findings[axis].value)
            name = axis.removeprefix("timeout_")
            if self._kernel is not None and seconds == getattr(self._kernel, name):
                self.omit(axis, Why.KERNELS)
            elif seconds is not None:
                given[name] = seconds
            elif not blocked:
                self.omit(axis, Why.NOT_OBSERVED)
        return dataclasses.replace(Timeouts(), **given)

    def _port_mapping(self) -> PortMapping:
        services = self._findings["services"].value
        offered = services if isinstance(services, tuple) else ()
        igd = next((v for v in (2, 1) if f"upnp-igd-{v}" in offered), 0)
        given: dict[str, Any] = {
            "upnp_igd": igd,
            "nat_pmp": "nat-pmp" in offered,
            "pcp": "pcp" in offered,
        }
        leases = self._findings["leases"].value
        if given["pcp"] and isinstance(leases, tuple):
            given["min_lease"], given["max_lease"] = leases
        secure = self._findings["secure_mode"].value
        if igd and isinstance(secure, bool):
            given["secure_mode"] = secure
        for field in dataclasses.fields(self._measured.port_mapping):
            value = self._findings[f"port_mapping.{field.name}"].value
            if isinstance(value, bool):
                given[field.name] = value
        return PortMapping(**given)


def _whole_seconds(value: Value | None) -> float | None:
    """A number of whole seconds within the bounds; None if the upper one was not reached."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    low, high = value
    if not isinstance(low, float) or not isinstance(high, float):
        return None
    seconds = math.ceil(low)
    return float(seconds) if 1 <= seconds <= high else None


def not_default(value: Any, default: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass that are not as in ``default``."""
    for field in dataclasses.fields(value):
        mine = getattr(value, field.name)
        if mine != getattr(default, field.name):
            yield field.name, mine
