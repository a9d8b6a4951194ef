"""Gateways on loopback that map nothing and misbehave on demand: NAT-PMP, PCP and UPnP IGD.

Each pytest worker has its own gateway's address, so that workers do not meet.
"""

import asyncio
import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from testbed.traversal.portmap import natpmp, ssdp

_PID = os.getpid()
GATEWAY = IPv4Address(f"127.{_PID >> 16 & 127 | 128}.{_PID >> 8 & 255}.{_PID & 255}")
STRANGER = IPv4Address("127.9.9.9")
LOCAL = IPv4Address("127.0.0.1")
WAN = IPv4Address("73.0.0.1")
PORT = natpmp.SERVER_PORT


@dataclass
class Quirks:
    """What is wrong with a service; each can be changed while it runs."""

    silent: bool = False
    delay: float = 0.0
    result: int = 0  # of mappings; `address_result` that of NAT-PMP's address
    address_result: int = 0
    shift: int = 0  # the external port is so much beside the asked
    lifetime: int | None = None  # granted, whatever is asked
    external: IPv4Address = WAN
    source: IPv4Address = GATEWAY  # answers come from there
    spoil: Callable[[bytes], bytes] = bytes  # done to each answer
    born: float = field(default_factory=time.monotonic)

    @property
    def epoch(self) -> int:
        """Seconds since the start."""
        return int(time.monotonic() - self.born)


def send_from(source: IPv4Address, port: int, data: bytes, to: tuple[str, int]) -> None:
    """One datagram from any address of loopback, to a host or a group."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, LOCAL.packed)
        sock.bind((str(source), port))
        sock.sendto(data, to)


@dataclass
class Table:
    """What was asked for: transport number and internal port to external port and lifetime."""

    mappings: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def set(self, protocol: int, internal: int, external: int, lifetime: int) -> None:
        """Make, renew, or end."""
        self.asked.append("map" if lifetime else "unmap")
        if lifetime:
            self.mappings[protocol, internal] = external, lifetime
        else:
            self.mappings.pop((protocol, internal), None)


class Datagrams(asyncio.DatagramProtocol):
    """NAT-PMP and PCP on one port, as RFC 6887 appendix A has it; either may be missing."""

    def __init__(self, pcp: Quirks | None, pmp: Quirks | None) -> None:
        self.pcp, self.pmp, self.table = pcp, pmp, Table()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """From asyncio."""
        is_pcp = data[:1] == b"\x02"
        quirks = self.pcp if is_pcp else self.pmp
        if quirks is None:  # answers in the version that it has
            other = self.pmp if is_pcp else self.pcp
            assert other is not None
            version = 0 if is_pcp else 2
            refusal = struct.pack("!BBBBI", version, 128 | data[1], 0, 1, other.epoch)
            self.send(refusal + bytes(16 if version else 0), addr, other)
        elif not quirks.silent:
            answer = self._pcp(data, quirks) if is_pcp else self._pmp(data, quirks)
            loop = asyncio.get_running_loop()
            loop.call_later(quirks.delay, self.send, quirks.spoil(answer), addr, quirks)

    def send(self, data: bytes, to: tuple[str, int], quirks: Quirks) -> None:
        """From whatever address the quirks want."""
        if quirks.source == GATEWAY:
            self._transport.sendto(data, to)
        else:
            send_from(quirks.source, PORT, data, to)

    def announce(self, data: bytes, source: IPv4Address = GATEWAY) -> None:
        """To all hosts, on loopback."""
        send_from(source, PORT, data, ("224.0.0.1", 5350))

    def _pmp(self, data: bytes, quirks: Quirks) -> bytes:
        opcode = data[1]
        if opcode == 0:
            head = struct.pack("!BBHI", 0, 128, quirks.address_result, quirks.epoch)
            return head + quirks.external.packed
        internal, external, lifetime = struct.unpack_from("!HHI", data, 4)
        protocol = 17 if opcode == 1 else 6
        external, lifetime = self._grant(quirks, protocol, internal, external, lifetime)
        head = struct.pack("!BBHI", 0, 128 | opcode, quirks.result, quirks.epoch)
        return head + struct.pack("!HHI", internal, external, lifetime)

    def _pcp(self, data: bytes, quirks: Quirks) -> bytes:
        opcode, lifetime = data[1], struct.unpack_from("!I", data, 4)[0]
        if opcode == 0:
            return struct.pack("!BBBBII12x", 2, 128, 0, 0, 0, quirks.epoch)
        nonce, protocol, internal, external = struct.unpack_from("!12sB3xHH", data, 24)
        external, lifetime = self._grant(quirks, protocol, internal, external, lifetime)
        head = struct.pack("!BBBBII12x", 2, 128 | opcode, 0, quirks.result, lifetime, quirks.epoch)
        address = IPv6Address(f"::ffff:{quirks.external}").packed
        return head + struct.pack("!12sB3xHH16s", nonce, protocol, internal, external, address)

    def _grant(
        self, quirks: Quirks, protocol: int, internal: int, external: int, lifetime: int
    ) -> tuple[int, int]:
        external += quirks.shift if lifetime else 0
        if lifetime and quirks.lifetime is not None:
            lifetime = quirks.lifetime
        if quirks.result == 0:
            self.table.set(protocol, internal, external, lifetime)
        return external, lifetime


@contextlib.asynccontextmanager
async def datagrams(
    pcp: Quirks | None = None, pmp: Quirks | None = None
) -> AsyncIterator[Datagrams]:
    """The service on the gateway's port 5351."""
    loop = asyncio.get_running_loop()
    transport, double = await loop.create_datagram_endpoint(
        lambda: Datagrams(pcp, pmp), local_addr=(str(GATEWAY), PORT), reuse_port=True
    )
    try:
        yield double
    finally:
        transport.abort()


@dataclass
class IgdQuirks:
    """What is wrong with a UPnP gateway."""

    version: int = 1
    errors: dict[str, int] = field(default_factory=dict)  # by action
    permanent_only: bool = False
    taken: frozenset[int] = frozenset()  # external ports of others
    lies: bool = False  # says yes and does nothing
    external: str = str(WAN)
    location: str | None = None
    source: IPv4Address = GATEWAY  # of answers to a search
    description: bytes | None = None
    spoil: Callable[[bytes], bytes] = bytes  # done to each HTTP response
    drip: float = 0.0  # seconds between two bytes
    boot_id: int = 1


_DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:{version}</deviceType>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType>
<controlURL>/common</controlURL></service>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:{version}</serviceType>
<controlURL>/control</controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>"""
_ANSWER = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body>'
    "</s:Envelope>"
)
_FAULT = (
    "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
    '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{}</errorCode></UPnPError>'
    "</detail></s:Fault>"
)


class Igd(asyncio.DatagramProtocol):
    """A gateway of UPnP: search and control."""

    def __init__(self, quirks: IgdQuirks) -> None:
        self.quirks = quirks
        self.port = 0
        self.entries: dict[tuple[str, int], tuple[str, int, int]] = {}
        self.calls: list[str] = []
        self._served: list[asyncio.StreamWriter] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """From asyncio: a search."""
        target = next(x[4:] for x in data.decode().split("\r\n") if x.startswith("ST: "))
        if int(target[-1]) > self.quirks.version:
            return
        location = self.quirks.location or f"http://{GATEWAY}:{self.port}/desc.xml"
        answer = (
            f"HTTP/1.1 200 OK\r\nST: {target}\r\nLOCATION: {location}\r\n"
            f"BOOTID.UPNP.ORG: {self.quirks.boot_id}\r\n\r\n"
        ).encode()
        if self.quirks.source == GATEWAY:
            self._transport.sendto(answer, addr)
        else:
            send_from(self.quirks.source, ssdp.PORT, answer, addr)

    def notify(self, boot_id: int, source: IPv4Address = GATEWAY) -> None:
        """Announce a start."""
        notice = (
            f"NOTIFY * HTTP/1.1\r\nNT: {ssdp.GATEWAYS[1]}\r\nNTS: ssdp:alive\r\n"
            f"BOOTID.UPNP.ORG: {boot_id}\r\n\r\n"
        )
        send_from(source, ssdp.PORT, notice.encode(), ("239.255.255.250", ssdp.PORT))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One HTTP request."""
        self._served.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"Content-Length: (\d+)", head)
            body = (await reader.readexactly(int(length[1]))).decode() if length else ""
            status, answer = self._answer(head, body)
            raw = f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer
            raw = self.quirks.spoil(raw)
            while self.quirks.drip and raw:
                writer.write(raw[:1])
                await writer.drain()
                raw = raw[1:]
                await asyncio.sleep(self.quirks.drip)
            writer.write(raw)
            await writer.drain()
        writer.close()

    def hang_up(self) -> None:
        """End all connections, also those whose client is gone."""
        for writer in self._served:
            writer.transport.abort()

    def _answer(self, head: str, body: str) -> tuple[int, bytes]:
        if head.startswith("GET "):
            text = _DESCRIPTION.format(version=self.quirks.version).encode()
            return 200, self.quirks.description or text
        found = re.search(r"SOAPAction: \"[^#]*#(\w+)", head)
        assert found
        action, words = found[1], dict(re.findall(r"<(New\w+)>([^<]*)<", body))
        self.calls.append(action)
        result = self.quirks.errors.get(action) or self._do(action, words)
        if isinstance(result, int):
            return 500, _ANSWER.format(_FAULT.format(result)).encode()
        values = "".join(f"<{k}>{v}</{k}>" for k, v in result.items())
        return 200, _ANSWER.format(f"<u:{action}Response>{values}</u:{action}Response>").encode()

    def _do(self, action: str, words: dict[str, str]) -> dict[str, str] | int:
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.quirks.external}
        key = (words["NewProtocol"], int(words["NewExternalPort"]))
        if action == "DeletePortMapping":
            return {} if self.entries.pop(key, None) else 714
        if action == "GetSpecificPortMappingEntry":
            if key not in self.entries:
                return 714
            client, port, lease = self.entries[key]
            return {
                "NewInternalClient": client,
                "NewInternalPort": str(port),
                "NewLeaseDuration": str(lease),
            }
        return self._add(action, key, words)

    def _add(
        self, action: str, key: tuple[str, int], words: dict[str, str]
    ) -> dict[str, str] | int:
        lease, anything = int(words["NewLeaseDuration"]), action == "AddAnyPortMapping"
        if anything and self.quirks.version == 1:
            return 401
        if lease and self.quirks.permanent_only:
            return 725
        if key[1] in self.quirks.taken:
            if not anything:
                return 718
            key = (key[0], key[1] + 1)
        if not self.quirks.lies:
            self.entries[key] = words["NewInternalClient"], int(words["NewInternalPort"]), lease
        return {"NewReservedPort": str(key[1])} if anything else {}


@contextlib.asynccontextmanager
async def igd(quirks: IgdQuirks) -> AsyncIterator[Igd]:
    """A UPnP gateway."""
    double = Igd(quirks)
    server = await asyncio.start_server(double.serve, str(GATEWAY), 0)
    double.port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: double, local_addr=(str(GATEWAY), ssdp.PORT), reuse_port=True
    )
    try:
        yield double
    finally:
        transport.abort()
        server.close()
        double.hang_up()
        await asyncio.sleep(0)  # let the transports end before the loop does
