"""TXT records by dnspython, of a server on loopback."""

import asyncio
from typing import cast

import pytest
from dns import asyncresolver, flags, message, rcode, rrset

from testbed.traversal import DialError, Multiaddr
from testbed.traversal.aio.resolve import resolve
from testbed.traversal.aio.txt import lookup_txt

from .nodes import run

pytestmark = pytest.mark.timeout(60)
PEER = "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"
RECORDS = {
    "_dnsaddr.all.test.": [
        f'"dnsaddr=/ip4/9.9.9.9/tcp/1/p2p/{PEER}"',
        # One record of two strings is one text (RFC 1035 section 3.3.14).
        f'"dnsaddr=/ip6/2a00::1/udp/1" "/quic-v1/p2p/{PEER}"',
    ],
    "_dnsaddr.empty.test.": [],
}


class Server(asyncio.DatagramProtocol):
    """Authoritative for `RECORDS`; of no other name it knows anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = message.from_wire(data)
        answer = message.make_response(query)
        answer.flags |= flags.AA | flags.RA
        name = query.question[0].name
        records = RECORDS.get(str(name))
        if records is None:
            answer.set_rcode(rcode.NXDOMAIN)
        elif records:
            answer.answer.append(rrset.from_text(name, 60, "IN", "TXT", *records))
        self.transport.sendto(answer.to_wire(), addr)


def resolved(name: str) -> list[str]:
    found: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Server, ("127.0.0.1", 0))
        resolver = asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.lifetime = ["127.0.0.1"], 3.0
        resolver.port = transport.get_extra_info("sockname")[1]
        try:
            way = Multiaddr.parse(f"/dnsaddr/{name}/p2p/{PEER}")
            found.extend(map(str, await resolve(way, lambda n: lookup_txt(n, resolver))))
        finally:
            transport.close()

    run(work)
    return found


def test_the_records_of_a_name_become_addresses() -> None:
    # Records of one name have no order (RFC 2181 section 5), and dnspython's server shuffles them.
    assert sorted(resolved("all.test")) == [
        f"/ip4/9.9.9.9/tcp/1/p2p/{PEER}", f"/ip6/2a00::1/udp/1/quic-v1/p2p/{PEER}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"), [("empty.test", "no record of"), ("nobody.test", "does not exist")]
)
def test_a_name_without_records_is_a_dial_that_failed(name: str, why: str) -> None:
    with pytest.raises(DialError, match=why):
        resolved(name)
