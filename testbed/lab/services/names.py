"""The DNS server of a lab: it answers for the names of nodes, and says of all others that they

do not exist (RFC 1035).  A name may stand by itself or in a zone, as a resolver's search list
appends it: ``server``, ``server.lab``.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from testbed.lab.services.watch import Beginning, Question, failure
from testbed.model.fault import ServiceFailed
from testbed.model.lab import Lab, Process
from testbed.model.plan import ServeNames

PORT = 53
TTL = 5  # seconds that a resolver may keep an answer
DEADLINE = 10.0  # seconds until it answers, or has ended
POLL_INTERVAL = 0.002  # seconds
_PATIENCE = 5.0  # seconds for one question over TCP
_LENGTH = 2  # bytes before each message over TCP (section 4.2.2)


def answer(names: Mapping[str, IPv4Address], data: bytes) -> bytes | None:
    """The response to a query; None to what is none.

    Of a name that there is, its address for type A, and nothing for other types.
    """
    try:
        query = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return None
    if query.flags & dns.flags.QR:
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP)
        return response.to_wire()
    asked = query.question[0]
    if asked.rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.REFUSED)
        return response.to_wire()
    found = names.get(asked.name.to_text().lower().partition(".")[0])
    if found is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(asked.name, TTL, "IN", "A", str(found)))
    return response.to_wire()


class Names:
    """The server in its host, which can end and begin again."""

    name = "the DNS server"

    def __init__(self, lab: Lab, step: ServeNames) -> None:
        self._lab, self._step = lab, step
        self._process: Process | None = None

    def start(self) -> None:
        """Ready when it has answered, asked from its own host; ServiceError if not in time."""
        lab, node = self._lab, self._step.node
        process = self._process = lab.spawn(node, partial(_serve, self._step))
        beginning = Beginning(node, self.name, process)
        end = time.monotonic() + DEADLINE
        while not self._question.answered(lab, node):
            if process.poll() is not None or time.monotonic() >= end:
                raise beginning.unready()
            time.sleep(POLL_INTERVAL)

    def stop(self) -> None:
        """End it: who asks then is refused by the host's kernel."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
            self._process = None

    def failure(self) -> ServiceFailed | None:
        """How it failed since it was started; None where nobody wants it to run."""
        if self._process is None:
            return None
        return failure(self._lab, self._step.node, self.name, self._process, [self._question])

    @property
    def _question(self) -> Question:
        query = dns.message.make_query(self._step.node, "A", id=1)
        where = str(self._step.address), PORT
        return Question("DNS", socket.SOCK_DGRAM, where, query.to_wire(), b"\0\1")


def _serve(step: ServeNames) -> int:
    names = {name.lower(): address for name, address in step.names}
    asyncio.run(_run(names, str(step.address)))
    return 0


async def _run(names: Mapping[str, IPv4Address], address: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(names), local_addr=(address, PORT))
    server = await asyncio.start_server(partial(_stream, names), address, PORT)
    await server.serve_forever()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, names: Mapping[str, IPv4Address]) -> None:
        self._names = names

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """See asyncio."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio."""
        if (said := answer(self._names, data)) is not None:
            self._transport.sendto(said, addr)


async def _stream(
    names: Mapping[str, IPv4Address], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Questions over TCP, each with its length before it (section 4.2.2)."""
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        while True:
            async with asyncio.timeout(_PATIENCE):
                size = int.from_bytes(await reader.readexactly(_LENGTH))
                said = answer(names, await reader.readexactly(size))
            if said is None:
                break
            writer.write(len(said).to_bytes(_LENGTH) + said)
            await writer.drain()
    writer.close()
