"""The gateway's sockets, its clock, and nft: all that is not a function of a request."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from . import igd, kernel, natpmp, pcp, upnp
from .settings import Settings
from .table import Table

PORT = 5351  # of NAT-PMP and PCP
_ALL_HOSTS = ("224.0.0.1", 5350)
_ANNOUNCED = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # seconds between announcements of a start
_PATIENCE = 5.0  # seconds for one HTTP request
_LONGEST = 65536  # bytes of one
_SIOCGIFADDR = 0x8915  # of Linux
_NFT = 5.0  # seconds for nft


class Gateway:
    """One gateway: its table, and the rules that follow from it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.table = Table()
        self._born = time.monotonic()
        self._loaded: str | None = None
        self.boot = time.monotonic_ns() // 1_000_000 & 0x7FFFFFFF  # grows with each start

    @property
    def settings(self) -> Settings:
        """With the addresses of this moment: the outer one may change."""
        settings = self._settings
        return replace(settings, inside=_address(settings.lan), external=_address(settings.wan))

    @property
    def epoch(self) -> int:
        """Seconds since the start."""
        return int(time.monotonic() - self._born) if self._settings.epoch_counts else 0

    def load(self) -> None:
        """Let the rules be those of the table, before anybody is told of it."""
        rules = kernel.rules(self._settings, self.table)
        if rules != self._loaded:
            subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True, timeout=_NFT)
            self._loaded = rules

    def datagram(self, data: bytes, client: IPv4Address) -> bytes | None:
        """NAT-PMP's or PCP's answer: the first byte tells them apart (RFC 6887 appendix A)."""
        settings, now = self.settings, time.monotonic()
        if len(data) < 2:
            return None
        old = data[0] == natpmp.VERSION
        if old != settings.nat_pmp if old else not settings.pcp:
            if not settings.version_errors:
                return None
            old = settings.nat_pmp
        answer = natpmp.answer if old else pcp.answer
        said = answer(settings, self.table, data, client, now, self.epoch)
        self.load()
        return said

    def call(self, client: IPv4Address, header: str, body: bytes) -> tuple[int, str]:
        """HTTP's status and what is said to a SOAP request."""
        request = upnp.called(header, body)
        if request is None:
            return 400, ""
        service, action, words = request
        try:
            values = igd.perform(self.settings, self.table, client, time.monotonic(), action, words)
        except igd.UpnpError as error:
            return 500, upnp.failed(error.code)
        self.load()
        return 200, upnp.answered(service, action, values)

    async def keep_time(self) -> None:
        """End each mapping with its lease."""
        while True:
            if self.table.expire(time.monotonic()):
                self.load()
            due = self.table.next_end()
            wait = 0.1 if due is None else min(0.1, max(0.0, due - time.monotonic()))
            await asyncio.sleep(wait)


def _address(ifname: str) -> str:
    """The first IPv4 address of an interface; 0.0.0.0 where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16s24x", ifname.encode())
        try:
            return socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24])
        except OSError:
            return "0.0.0.0"


class _Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram of the LAN from where it was asked."""

    def __init__(self, answer: Callable[[bytes, IPv4Address], Iterable[bytes | None]]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """See asyncio."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """See asyncio."""
        for said in self._answer(data, IPv4Address(addr[0])):
            if said is not None:
                self._transport.sendto(said, addr)


def _socket(settings: Settings, port: int, address: str) -> socket.socket:
    """Bound to the LAN: nobody outside is heard."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    inside = socket.inet_aton(settings.inside)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, inside)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.lan.encode())
    sock.bind((address, port))
    return sock


async def _serve_http(
    gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One request a connection."""
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        async with asyncio.timeout(_PATIENCE):
            header = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(
                (int(line[15:]) for line in header.split("\r\n")
                 if line.lower().startswith("content-length:")), 0,
            )  # fmt: skip
            body = await reader.readexactly(min(length, _LONGEST))
            client = IPv4Address(writer.get_extra_info("peername")[0])
            status, text = _response(gateway, client, header, body)
            writer.write(_http(status, text))
            await writer.drain()
    writer.close()


def _response(gateway: Gateway, client: IPv4Address, header: str, body: bytes) -> tuple[int, str]:
    method, _, rest = header.partition(" ")
    path = rest.split(" ")[0]
    if (method, path) == ("POST", upnp.CONTROL):
        return gateway.call(client, header, body)
    if (method, path) == ("GET", upnp.DESCRIPTION):
        return 200, upnp.description(gateway.settings)
    if (method, path) == ("GET", upnp.ACTIONS):
        return 200, upnp.actions()
    return 404, ""


def _http(status: int, text: str) -> bytes:
    words = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}
    body = text.encode()
    head = (
        f'HTTP/1.1 {status} {words[status]}\r\nContent-Type: text/xml; charset="utf-8"\r\n'
        f"Content-Length: {len(body)}\r\nConnection: close\r\nEXT:\r\n\r\n"
    )
    return head.encode() + body


@contextlib.asynccontextmanager
async def _listening(gateway: Gateway) -> AsyncIterator[None]:
    settings, loop = gateway.settings, asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:

        async def listen(port: int, address: str, answer: Callable[..., Iterable[bytes | None]],
                         group: str = "") -> socket.socket:  # fmt: skip
            sock = _socket(settings, port, address)
            if group:
                member = struct.pack(
                    "4s4s", socket.inet_aton(group), socket.inet_aton(settings.inside)
                )
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(answer), sock=sock
            )
            stack.callback(transport.close)
            return sock

        if settings.nat_pmp or settings.pcp:
            mapping = await listen(
                PORT, settings.inside, lambda data, client: [gateway.datagram(data, client)]
            )
            stack.callback(loop.create_task(_announce(gateway, mapping)).cancel)
        if settings.upnp_igd:
            search = lambda data, _: upnp.found(settings, gateway.boot, data)  # noqa: E731
            ssdp = await listen(upnp.SSDP_PORT, "", search, upnp.GROUP)
            http = await asyncio.start_server(
                lambda r, w: _serve_http(gateway, r, w), settings.inside, settings.http_port
            )
            stack.callback(http.close)
            for notice in upnp.alive(settings, gateway.boot):
                with contextlib.suppress(OSError):
                    ssdp.sendto(notice, (upnp.GROUP, upnp.SSDP_PORT))
        yield


async def _announce(gateway: Gateway, sock: socket.socket) -> None:
    """RFC 6886 section 3.2.1, RFC 6887 section 14.1.3: mappings of before are gone."""
    settings = gateway.settings
    for pause in _ANNOUNCED:
        await asyncio.sleep(pause)
        if settings.nat_pmp:
            _tell(sock, natpmp.told_address(settings, gateway.epoch))
        if settings.pcp:
            _tell(sock, pcp.announcement(gateway.epoch))


def _tell(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendto(data, _ALL_HOSTS)


async def serve(settings: Settings) -> None:
    """Until it is ended."""
    gateway = Gateway(settings)
    gateway.load()
    async with _listening(gateway):
        await gateway.keep_time()
