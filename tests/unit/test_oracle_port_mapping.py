"""What a mapping is worth, by the declared behaviour alone."""

from dataclasses import replace

import pytest

from testbed.model.behaviour import Allocation, Behaviour, Mapping, PortMapping, Protocol, Transport
from testbed.model.trace import Place
from testbed.predict.nat import TransportNat
from testbed.predict.port_mapping import Mapped, MappedPort, granted, mapped_endpoint
from testbed.predict.translation import Leaves

OFFERED = PortMapping(upnp_igd=1)
SYMMETRIC = Transport(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT)
WEB = Transport(allowed_ports=(80, 443))


@pytest.mark.parametrize(
    ("behaviour", "public", "caller_port", "worth"),
    [
        (Behaviour(), True, None, Mapped.NOT_OFFERED),
        (Behaviour(), False, None, Mapped.NOT_OFFERED),
        (Behaviour(port_mapping=OFFERED), True, None, Mapped.REACHABLE),
        (Behaviour(port_mapping=OFFERED), False, None, Mapped.USELESS),
        (Behaviour(port_mapping=replace(OFFERED, forwards=False)), True, None, Mapped.IDLE),
        (Behaviour(port_mapping=replace(OFFERED, private_wan=True)), False, None, Mapped.USELESS),
        (
            Behaviour(port_mapping=replace(OFFERED, address_known=False)),
            True,
            None,
            Mapped.USELESS,
        ),
        (Behaviour(tcp=SYMMETRIC, port_mapping=OFFERED), True, None, Mapped.REACHABLE),
        (Behaviour(tcp=WEB, port_mapping=OFFERED), True, None, Mapped.CLOSED),
        (Behaviour(tcp=WEB, port_mapping=OFFERED), True, 443, Mapped.REACHABLE),
        (Behaviour(tcp=WEB, port_mapping=OFFERED), True, 4001, Mapped.CLOSED),
        (
            Behaviour(tcp=Transport(blocked=True), port_mapping=OFFERED),
            True,
            None,
            Mapped.CLOSED,
        ),
    ],
)
def test_a_mapping_is_worth(
    behaviour: Behaviour, public: bool, caller_port: int | None, worth: Mapped
) -> None:
    assert worth is mapped_endpoint(
        behaviour, wan_is_public=public, protocol=Protocol.TCP, caller_port=caller_port
    )


@pytest.mark.parametrize(
    ("services", "public", "there"),
    [
        (PortMapping(), True, False),
        (OFFERED, True, True),
        (OFFERED, False, False),
        (replace(OFFERED, private_wan=True), False, True),
        (replace(OFFERED, forwards=False), True, False),
        (replace(OFFERED, address_known=False), True, True),
    ],
)
def test_a_router_has_the_mapping_whatever_its_host_is_told(
    services: PortMapping, public: bool, there: bool
) -> None:
    assert granted(Behaviour(port_mapping=services), wan_is_public=public) is there


@pytest.mark.parametrize(("outward", "ports"), [(True, {9101}), (False, {1024, 1025})])
def test_a_mapped_port_is_one_towards_everybody_where_it_is_mapped_outwards(
    outward: bool, ports: set[int]
) -> None:
    """The NAT is symmetric, and its quota is used up by nothing that is mapped."""
    mapped = MappedPort(Protocol.TCP, 9101, 0, 6101, outward)
    sequential = replace(SYMMETRIC, allocation=Allocation.SEQUENTIAL)
    behaviour = Behaviour(tcp=sequential, quota=2, forwards=(mapped,))
    nat = TransportNat("nat", Protocol.TCP, behaviour, ("wan",), ("a",))
    found = [nat.outgoing(0.0, Place("a", 6101), Place("s", port)) for port in (1, 2)]
    assert {one.external.port for one in found if isinstance(one, Leaves)} == ports
    other = nat.outgoing(0.0, Place("a", 6102), Place("s", 3))
    assert isinstance(other, Leaves) is outward
