"""What a declared behaviour claims, axis by axis, and whether a measurement agrees.  Pure."""

from collections.abc import Callable
from dataclasses import fields, replace

from testbed.certify.allowance import Allowance, declared, needed, pool
from testbed.certify.measured import (
    AT_LEAST_ADDRESS,
    Measured,
    MeasuredPortMapping,
    Value,
    forward_name,
)
from testbed.model.behaviour import (
    CLAIMED,
    Allocation,
    Behaviour,
    Exposed,
    Filtering,
    Mapping,
    PortMapping,
    PortRange,
    Protocol,
    Transport,
    WanInput,
)
from testbed.model.frozen import FrozenValue
from testbed.nat.limits import applicable
from testbed.words import sentence

_GRACE = 0.1  # seconds by which a timer may be late
_DEPENDENT = (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)
_SPREAD = 4  # scattered ports span at least the range's size by this


class Row(FrozenValue):
    """One axis: the claim, the measurement, and whether they agree, all of it in words.

    ``shortened_from``: what the profile declares, where ``declared`` is a shorter timer
    that the same rules were certified with.
    """

    axis: str
    declared: str
    measured: str
    agrees: bool
    evidence: str
    shortened_from: str = ""


class Claim(FrozenValue):
    """What a behaviour says about one axis: in words, and as a test of the measured value."""

    declared: str
    holds: Callable[[Value | None], bool]


def _is(value: Value) -> Claim:
    return Claim(_words(value), lambda measured: measured == value)


def _are(values: tuple[str, ...]) -> Claim:
    """The values are a set: neither side's order says anything."""
    wanted = sorted(values)

    def holds(measured: Value | None) -> bool:
        return isinstance(measured, tuple) and sorted(map(str, measured)) == wanted

    return Claim(_words(values), holds)


def claims(behaviour: Behaviour, *, mappings: int) -> dict[str, Claim]:
    """Every axis that ``behaviour`` determines and the prober must be able to observe.

    ``mappings``: how many the prober opened at most when it looked for a quota.
    """
    found: dict[str, Claim] = {}
    for protocol in Protocol:
        for axis, claim in _of_transport(behaviour, protocol, mappings).items():
            found[f"{protocol}.{axis}"] = claim
    timeouts = behaviour.timeouts
    lets_in = behaviour.exposed is Exposed.EACH_HOST  # also what has expired, so that no end shows
    if behaviour.udp.remembers and not lets_in:
        found["refresh"] = _is(behaviour.refresh)
        found["timeout_udp"] = _lasts(timeouts.udp)
        found["timeout_udp_stream"] = _lasts(timeouts.udp_stream)
    if behaviour.tcp.remembers:
        found["timeout_tcp_transitory"] = _lasts(timeouts.tcp_transitory)
        if not lets_in:
            found["timeout_tcp_established"] = _lasts(timeouts.tcp_established)
    found["forwards"] = _are(tuple(forward_name(each) for each in behaviour.forwards))
    if behaviour.translates:
        found["lan_exposed"] = _is(False)
    for one in fields(behaviour):
        if CLAIMED in one.metadata:
            found[one.name] = _is(getattr(behaviour, one.name))
    return found | _of_services(behaviour.port_mapping)


def unclaimed(behaviour: Behaviour, *, mappings: int) -> tuple[str, ...]:
    """The axes that are not to be seen because ``behaviour`` allows few mappings."""
    udp, tcp = (replace(behaviour.transport(p), ports=PortRange()) for p in Protocol)
    ample = replace(behaviour, udp=udp, tcp=tcp, quota=None)
    claimed = claims(behaviour, mappings=mappings)
    return tuple(axis for axis in claims(ample, mappings=mappings) if axis not in claimed)


def _of_transport(behaviour: Behaviour, protocol: Protocol, mappings: int) -> dict[str, Claim]:
    transport, allowance = behaviour.transport(protocol), declared(behaviour, protocol)
    found = {"blocked": _is(transport.blocked)}
    exposed = behaviour.exposed is not Exposed.NONE  # then no call comes to the router itself
    if not exposed:
        found["wan_input"] = _is(behaviour.wan_input)
    if not transport.plain and not exposed:
        found["unsolicited"] = _is(transport.unsolicited)
    if transport.blocked:
        return found
    found["allowed_ports"] = _lets_out(transport)
    if transport.mapping not in _DEPENDENT or allowance.tells_order:
        found["mapping"] = _maps(transport, allowance)
    found["filtering"] = _is(behaviour.filters(protocol, 0))
    if behaviour.exposed is Exposed.FIRST_HOST:
        found["unexposed_filtering"] = _is(transport.filtering)
    found["large"] = _is("passed")
    if transport.plain:
        return found
    found["persistence"] = _is("kept")
    if transport.mapping is not Mapping.NONE:
        found |= _of_mappings(behaviour, protocol) | _limits(behaviour, protocol, mappings)
    return found


def _of_mappings(behaviour: Behaviour, protocol: Protocol) -> dict[str, Claim]:
    """Of the external ports that a NAT gives."""
    transport, allowance = behaviour.transport(protocol), declared(behaviour, protocol)
    found: dict[str, Claim] = {}
    if transport.allocation is Allocation.PRESERVING or allowance.tells_order:
        found["allocation"] = _is(transport.allocation)
    if transport.allocation is not Allocation.PRESERVING:
        found["ports"] = _within(transport, allowance)
    if behaviour.pooling is not None:
        found["pooling"] = _is(behaviour.pooling)
    if allowance.covers(needed("collision", transport.mapping)):
        if behaviour.pooling is None:  # else the two hosts may have different addresses
            found["overloading"] = _is(transport.overloading)
        found["collision"] = _is("separate")
    if transport.mapping is Mapping.ENDPOINT_INDEPENDENT:
        found["early_inbound"] = _is("moved" if _steals(behaviour, protocol) else "kept")
    hairpins = allowance.covers(needed("hairpin", transport.mapping))
    if hairpins and _hairpin_shows(behaviour, protocol):
        found["hairpin"] = _is(behaviour.hairpin)
    return found


def _limits(behaviour: Behaviour, protocol: Protocol, mappings: int) -> dict[str, Claim]:
    """A quota and a pool, of which the smaller one may hide the other.

    One LAN host opens ``mappings`` at most, and then the other as many as it got.
    """
    quota = behaviour.quota if behaviour.quota is not None else mappings
    ports = pool(behaviour, protocol)
    if ports is None or ports >= 2 * min(quota, mappings):
        found = {"pool": _is("none")}
    else:
        found = {"pool": _is(ports)}
    if ports is None or quota < ports or mappings < ports:
        found["quota"] = _is(quota if quota < mappings else "none")
    return found


def _of_services(offered: PortMapping) -> dict[str, Claim]:
    found = {"services": _are(offered.services), "services_outside": _are(())}
    if offered.pcp:
        found["leases"] = _is((offered.min_lease, offered.max_lease))
    if offered.upnp_igd:
        found["secure_mode"] = _is(offered.secure_mode)
    for axis, claim in _of_grants(offered).items() if offered.offered else ():
        found[f"port_mapping.{axis}"] = claim
    return found


def _of_grants(offered: PortMapping) -> dict[str, Claim]:
    """What the gateway does with the ports that it grants, as far as its services show it."""
    shown = applicable(offered)
    names = (field.name for field in fields(MeasuredPortMapping) if shown[field.name])
    found = {name: _is(getattr(offered, name)) for name in names}
    found["mapped_outward"] = _is(offered.mapped_outward and offered.forwards)
    if offered.upnp_igd > 1:
        found["static_lease"] = _is(True)
    return found


def _steals(behaviour: Behaviour, protocol: Protocol) -> bool:
    """Does an early packet that the router takes for itself keep the port?

    Not a TCP one: the router's reset ends the entry that the SYN has made.
    """
    takes = behaviour.wan_input is WanInput.ACCEPT and behaviour.exposed is Exposed.NONE
    return takes and protocol is Protocol.UDP


def _hairpin_shows(behaviour: Behaviour, protocol: Protocol) -> bool:
    """Where the filtering would keep the call out anyway, nothing is to be seen."""
    transport = behaviour.transport(protocol)
    if behaviour.filters(protocol, 0) is Filtering.ENDPOINT_INDEPENDENT:
        return True
    return protocol is Protocol.UDP and transport.mapping is Mapping.ENDPOINT_INDEPENDENT


def _maps(transport: Transport, allowance: Allowance) -> Claim:
    """Where one destination port is let out, a dependence on the port does not show.

    Nor does it where there are two mappings to compare.
    """
    told = len(transport.allowed_ports) != 1 and allowance.tells_ports
    if told or transport.mapping not in _DEPENDENT:
        return _is(transport.mapping)
    seen = (transport.mapping, AT_LEAST_ADDRESS)
    return Claim(_words(transport.mapping), lambda measured: measured in seen)


def _lets_out(transport: Transport) -> Claim:
    """The prober tries the declared ports and others."""
    allowed = tuple(str(port) for port in sorted(transport.allowed_ports))
    if not allowed:
        return _is("all")
    return Claim(_words(allowed), lambda measured: _sorted(measured) == allowed)


def _sorted(measured: Value | None) -> tuple[str, ...]:
    words = measured if isinstance(measured, tuple) else ()
    return tuple(str(number) for number in sorted(int(word) for word in words if word))


def _within(transport: Transport, allowance: Allowance) -> Claim:
    """Every port seen lies in the range, and scattered ones span a fair part of it."""
    ports: PortRange = transport.ports

    def holds(measured: Value | None) -> bool:
        if not isinstance(measured, tuple) or len(measured) != 2:
            return False
        low, high = measured
        if not isinstance(low, int) or not isinstance(high, int):
            return False
        inside = low in ports and high in ports
        scattered = (
            transport.allocation in (Allocation.HASHED, Allocation.RANDOM)
            and allowance.tells_spread
        )
        return inside and (not scattered or high - low >= ports.size / _SPREAD)

    return Claim(f"{ports.first} to {ports.last}", holds)


def _lasts(seconds: float) -> Claim:
    """The declared time lies between the longest survived and the shortest not survived."""

    def holds(measured: Value | None) -> bool:
        if not isinstance(measured, tuple) or len(measured) != 2:
            return False
        low, high = measured
        if not isinstance(low, float) or not isinstance(high, float):
            return False
        return low - _GRACE <= seconds <= high

    return Claim(f"{seconds:g} s", holds)


def _words(value: Value | None) -> str:
    if value is None:
        return "not observed"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        if any(isinstance(each, float) for each in value):
            low, high = value
            return f"{low} to {high} s" if high is not None else f"over {low} s"
        return ", ".join(map(str, value)) or "none"
    return str(value)


def compare(behaviour: Behaviour, measured: Measured, *, mappings: int) -> tuple[Row, ...]:
    """Every claim beside its measurement.  An axis that was not observed does not agree."""
    found = dict(measured.axes())
    rows = []
    for axis, claim in claims(behaviour, mappings=mappings).items():
        finding = found[axis]
        agrees, shown = claim.holds(finding.value), sentence(finding.evidence)
        rows.append(Row(axis, claim.declared, _words(finding.value), agrees, shown))
    return tuple(rows)
