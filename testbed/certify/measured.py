"""What the prober found out about a NAT: one value and its evidence on every axis."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from testbed.model.behaviour import Forward
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Endpoint
from testbed.model.statement import Statement
from testbed.model.statement.probing import Circumstance, Met, Several, Valued
from testbed.words import sentence

# A word of `testbed.model.behaviour`, a number, a yes or no, a list of words, or
# lower and upper bounds in seconds (the upper one None: longer than was waited).
Value = str | int | bool | tuple[str, ...] | tuple[int, int] | tuple[float, float | None]


# Mapping of a NAT that lets one destination port out: whether it depends on the port, too,
# cannot be seen.
AT_LEAST_ADDRESS = "address_dependent_or_more"
PRESERVING_WITHIN = "preserving_within"  # the ports of a range are kept, others are moved into it


class Finding(FrozenValue):
    """One axis.  ``value`` is None where it cannot be observed; ``evidence`` says why."""

    value: Value | None
    evidence: Statement


def unseen(why: Statement | Circumstance) -> Finding:
    """An axis that cannot be observed here."""
    return Finding(None, why if isinstance(why, Statement) else Met(why))


def inconsistent(results: Iterable[tuple[Value | None, Statement]]) -> Finding:
    """An axis on which experiments do not agree."""
    parts = tuple(Valued(str(value), shown) for value, shown in results)
    return Finding("inconsistent", Several(parts))


def endpoint(pair: tuple[str, int]) -> Endpoint:
    """Of an address as sockets have it."""
    return Endpoint(IPv4Address(pair[0]), pair[1])


def forward_name(forward: Forward) -> str:
    """How a working forward is reported: ``udp 4001 -> host 0 port 4001``."""
    inside = f"host {forward.host} port {forward.internal_port}"
    return f"{forward.protocol} {forward.external_port} -> {inside}"


class MeasuredTransport(FrozenValue):
    """One protocol's axes: those of `Transport`, and what follows from them.

    A value that is no word of `testbed.model.behaviour` names what is wrong:
    ``inconsistent`` (no answer holds for all sockets), ``closed`` (not even
    replies come in), ``asymmetric`` (an answer leaves from another endpoint).
    """

    blocked: Finding  # bool
    allowed_ports: Finding  # "all", or of the destination ports tried those let out
    mapping: Finding
    pooling: Finding  # None where one external address was seen
    large: Finding  # passed, lost: packets of 1200 bytes, both ways
    filtering: Finding
    unexposed_filtering: Finding  # of a LAN host that not everything goes to, if one has all
    allocation: Finding
    ports: Finding  # lowest and highest external port seen
    overloading: Finding  # bool
    collision: Finding  # separate, or what became of two hosts on one source port
    early_inbound: Finding  # kept, moved: the port after the remote's packet came first
    persistence: Finding  # kept, lost: is a mapping refreshed by its own outbound traffic
    hairpin: Finding
    exposed_host: Finding  # the LAN host that everything from outside goes to, if there is one
    unsolicited: Finding
    wan_input: Finding
    quota: Finding  # int, or "none" up to the number tried: mappings of one LAN host
    pool: Finding  # the same: mappings of all LAN hosts together


class MeasuredPortMapping(FrozenValue):
    """What a gateway does with the ports that it grants; names as in `PortMapping`."""

    forwards: Finding  # bool: a stranger is let in
    mapped_outward: Finding  # bool
    first_mapping_kept: Finding  # bool, of NAT-PMP
    prefer_failure: Finding  # bool, of PCP
    nonce: Finding  # bool, of PCP
    any_port: Finding  # bool, of IGD 1
    permanent_only: Finding  # bool, of UPnP
    static_lease: Finding  # bool: UPnP's lease of 0 is without end, or a week in version 2
    absent_refused: Finding  # bool, of UPnP: 714 for the end of what is not there
    version_errors: Finding  # bool, of NAT-PMP without PCP and the other way round
    address_known: Finding  # bool
    epoch_counts: Finding  # bool, of NAT-PMP and PCP


class Measured(FrozenValue):
    """Everything measured; the axes' names are as in `Behaviour`."""

    udp: MeasuredTransport
    tcp: MeasuredTransport
    refresh: Finding
    timeout_udp: Finding  # bounds in seconds, as all timeouts
    timeout_udp_stream: Finding
    timeout_tcp_transitory: Finding
    timeout_tcp_established: Finding
    forwards: Finding  # those looked for that work, and others that showed themselves
    reflected: Finding  # of these, the ones that a LAN host reaches at the external address
    lan_exposed: Finding  # bool: a LAN address is called from, or seen on, the internet
    services: Finding  # port-mapping services that answer on the LAN
    services_outside: Finding  # and those that answer a stranger
    leases: Finding  # lowest and highest that PCP grants, in seconds
    secure_mode: Finding  # bool: a LAN host maps ports to itself alone
    port_mapping: MeasuredPortMapping
    more: Mapping[str, Finding] = dataclasses.field(default_factory=dict)  # of one file each

    def axes(self) -> Iterator[tuple[str, Finding]]:
        """Every axis by name, for example ``udp.mapping`` or ``refresh``."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Finding):
                yield field.name, value
            elif isinstance(value, Mapping):
                yield from value.items()
            else:
                for inner in dataclasses.fields(value):
                    yield f"{field.name}.{inner.name}", getattr(value, inner.name)

    def to_json(self) -> dict[str, Any]:
        """Plain data: axis -> {"value", "evidence"}."""
        return {
            name: {"value": finding.value, "evidence": sentence(finding.evidence)}
            for name, finding in self.axes()
        }
