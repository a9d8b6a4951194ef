"""What a mapping is worth, by the declared behaviour alone."""

import pytest

from testbed.model.behaviour import Behaviour, Mapping, PortMapping, Protocol, Transport
from testbed.predict.port_mapping import Mapped, mapped_endpoint

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
