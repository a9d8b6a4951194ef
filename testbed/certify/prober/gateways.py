"""The questions that a LAN host asks of a port-mapping gateway, and the answers' parts."""

import re
import socket
import struct
import time
from collections.abc import Mapping
from ipaddress import IPv6Address

from testbed.certify.prober.bench import LAN, Bench
from testbed.certify.prober.packets import Endpoint
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue

PORT = 5351  # of NAT-PMP and PCP
GRANT = 2.0  # seconds for a service that answers to map
NONCE, ANOTHER = b"prober-nonce", b"other-nonce!"
PREFER_FAILURE = bytes((2, 0, 0, 0))  # PCP's option
_NUMBERS = {Protocol.UDP: 17, Protocol.TCP: 6}
_KIND = "urn:schemas-upnp-org:service:WANIPConnection:1"


class PcpAnswer(FrozenValue):
    """Of a MAP; ``result`` is None where nobody answers."""

    result: int | None
    lifetime: int = 0
    epoch: int = 0
    port: int = 0
    address: str = ""


class PmpAnswer(FrozenValue):
    """Of any request by NAT-PMP; ``result`` is None where nobody answers."""

    result: int | None
    epoch: int = 0
    port: int = 0
    address: str = ""


class Datagrams:
    """PCP and NAT-PMP of one gateway, asked by the first LAN host."""

    def __init__(self, bench: Bench, gateway: str) -> None:
        self._bench = bench
        self._server = (gateway, PORT)

    def ask(self, request: bytes, within: float = GRANT) -> bytes:
        """The answer; empty if there is none in time."""
        with self._bench.lab.socket(LAN[0], socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self._server)
            send(sock, request)
            return received(sock, time.monotonic() + within)

    def pcp(
        self,
        protocol: Protocol,
        internal: int,
        external: int,
        seconds: int,
        *,
        nonce: bytes = NONCE,
        options: bytes = b"",
    ) -> PcpAnswer:
        """MAP (RFC 6887 section 11.1)."""
        client = IPv6Address(f"::ffff:{self._bench.address(LAN[0])}").packed
        head = struct.pack("!BBHI16s", 2, 1, 0, seconds, client)
        number = _NUMBERS[protocol]
        body = struct.pack("!12sB3xHH16s", nonce, number, internal, external, bytes(16))
        answer = self.ask(head + body + options)
        if len(answer) < 12 or answer[:2] != b"\2\x81":
            return PcpAnswer(None)
        lifetime, epoch = struct.unpack_from("!II", answer, 4)
        if answer[3] or len(answer) < 60:
            return PcpAnswer(answer[3], lifetime, epoch)
        port, address = struct.unpack_from("!H16s", answer, 42)
        return PcpAnswer(0, lifetime, epoch, port, str(IPv6Address(address).ipv4_mapped))

    def pmp(self, protocol: Protocol, internal: int, external: int, seconds: int) -> PmpAnswer:
        """A mapping by NAT-PMP (RFC 6886 section 3.3)."""
        opcode = 1 if protocol is Protocol.UDP else 2
        answer = self.ask(struct.pack("!BBHHHI", 0, opcode, 0, internal, external, seconds))
        if len(answer) < 8 or answer[0] or answer[1] != 128 + opcode:
            return PmpAnswer(None)
        result, epoch = struct.unpack_from("!HI", answer, 2)
        port = struct.unpack_from("!H", answer, 10)[0] if len(answer) >= 16 else 0
        return PmpAnswer(result, epoch, port)

    def pmp_address(self) -> PmpAnswer:
        """The external address by NAT-PMP (section 3.2)."""
        answer = self.ask(bytes(2))
        if len(answer) < 8 or answer[:2] != b"\0\x80":
            return PmpAnswer(None)
        result, epoch = struct.unpack_from("!HI", answer, 2)
        return PmpAnswer(result, epoch, 0, socket.inet_ntoa(answer[8:12].ljust(4, b"\0")))


class Soap(FrozenValue):
    """The control of a UPnP gateway, called by the first LAN host."""

    bench: Bench
    server: Endpoint
    path: str

    def call(self, action: str, words: Mapping[str, object]) -> bytes:
        """All of the response."""
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in words.items())
        body = (
            '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
            f'<u:{action} xmlns:u="{_KIND}">{inside}</u:{action}></s:Body></s:Envelope>'
        )
        head = (
            f"POST {self.path} HTTP/1.0\r\nContent-Type: text/xml\r\n"
            f'Content-Length: {len(body)}\r\nSOAPAction: "{_KIND}#{action}"\r\n\r\n'
        )
        return http(self.bench, LAN[0], self.server, (head + body).encode(), GRANT)

    def add(
        self,
        protocol: Protocol,
        internal: int,
        external: int,
        seconds: int,
        *,
        client: str = "",
        action: str = "AddPortMapping",
    ) -> int | None:
        """0 for a grant, else the error's code; None for any other answer."""
        words = self._key(protocol, external) | {
            "NewInternalPort": internal,
            "NewInternalClient": client or self.bench.address(LAN[0]),
            "NewEnabled": 1,
            "NewPortMappingDescription": "prober",
            "NewLeaseDuration": seconds,
        }
        return outcome(action, self.call(action, words))

    def delete(self, protocol: Protocol, external: int) -> int | None:
        """As `add`."""
        action = "DeletePortMapping"
        return outcome(action, self.call(action, self._key(protocol, external)))

    def value(self, name: str, action: str, words: Mapping[str, object]) -> str | None:
        """One value of a success."""
        found = re.search(rf"<{name}>([^<]*)<".encode(), self.call(action, words))
        return found[1].decode() if found else None

    def lease(self, protocol: Protocol, external: int) -> str | None:
        """What is left of a mapping's lease, in seconds."""
        words = self._key(protocol, external)
        return self.value("NewLeaseDuration", "GetSpecificPortMappingEntry", words)

    @staticmethod
    def _key(protocol: Protocol, external: int) -> dict[str, object]:
        name = protocol.value.upper()
        return {"NewRemoteHost": "", "NewExternalPort": external, "NewProtocol": name}


def outcome(action: str, response: bytes) -> int | None:
    """0 for a success, else the error's code; None for any other answer."""
    refused = re.search(rb"<errorCode>\s*(\d+)\s*<", response)
    if refused:
        return int(refused[1])
    return 0 if f"{action}Response".encode() in response else None


def http(bench: Bench, node: str, server: Endpoint, request: bytes, within: float) -> bytes:
    """All of the response, or what of it came in time; empty if nobody answers."""
    end, response = time.monotonic() + within, b""
    with bench.lab.socket(node, socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(within)
        try:
            sock.connect(server)
            sock.sendall(request)
        except OSError:
            return b""
        while data := received(sock, end):
            response += data
    return response


def send(sock: socket.socket, data: bytes, to: Endpoint | None = None) -> None:
    """A refusal of an earlier question is not this one's error."""
    try:
        sock.sendto(data, to) if to else sock.send(data)
    except OSError:
        sock.sendto(data, to) if to else sock.send(data)


def received(sock: socket.socket, end: float) -> bytes:
    """The next data before ``end``; empty for silence, a refusal, or the end of a stream."""
    left = end - time.monotonic()
    if left <= 0:
        return b""
    sock.settimeout(left)
    try:
        return sock.recv(4096)
    except OSError:
        return b""
