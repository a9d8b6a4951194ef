"""coturn, the lab's public STUN and TURN server (RFC 8489, RFC 8656).

With two addresses it also answers RFC 5780's questions, on its ports 3478 and 3479.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

from testbed import foreign
from testbed.errors import UnfitError
from testbed.lab.services.watch import Beginning, Question, watched
from testbed.model.entrance import RELAY_PORTS
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Capability, Confinement, Lab, Process
from testbed.stacks import stun

NAME = "coturn"
PORT = 3478  # UDP and TCP
HTTPS_PORT = 443  # for clients that get out by nothing else; coturn opens its UDP side, too
REALM = "testbed"
NOT_RELAYED_TO = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
PIPE_SIZE = 1 << 20  # bytes; nobody reads coturn's log while it runs
POLL_INTERVAL = 0.002  # seconds
_BINDING_SUCCESS = b"\x01\x01"  # the type of the answer, RFC 8489 section 5
LAST_WORDS = 2000  # characters
_REMEDY = "install Debian's package coturn, or see what it complains about"
CONFINEMENT = Confinement(capabilities=(Capability.NET_BIND_SERVICE,))  # for its HTTPS port


class Coturn(FrozenValue):
    """Where it listens (and relays from), and the one user it knows.

    ``external`` is the address that it tells in place of its first one: a NAT's.
    """

    addresses: tuple[IPv4Address, ...]
    username: str = "lab"
    password: str = "lab-password"
    executable: str = "turnserver"
    ports: tuple[int, int] = RELAY_PORTS
    options: tuple[str, ...] = ()  # more of its own: quotas, timers
    external: IPv4Address | None = None


def command(config: Coturn) -> tuple[str, ...]:
    """The argument vector: all configuration, so that no file is read or left.

    ``:memory:`` is SQLite's name for a database without a file.  Only options that every
    release knows: the newer ones refuse to be told that there is to be no DTLS and no
    command line, which the older ones do not start either, without certificate and password.
    """
    each = [str(address) for address in config.addresses]
    denied = [IPv4Network(text) for text in NOT_RELAYED_TO]
    # What it relays to its own relayed addresses does not leave it.
    mapped = (
        (f"--external-ip={config.external}/{each[0]}", f"--allowed-peer-ip={each[0]}")
        if config.external
        else ()
    )
    return (
        config.executable,
        "-n",
        *(f"--listening-ip={address}" for address in each),
        *(f"--relay-ip={address}" for address in each),
        f"--listening-port={PORT}",
        *(f"--aux-server={address}:{HTTPS_PORT}" for address in each),
        f"--min-port={config.ports[0]}",
        f"--max-port={config.ports[1]}",
        "--relay-threads=1",
        "--lt-cred-mech",
        f"--user={config.username}:{config.password}",
        f"--realm={REALM}",
        *mapped,
        *(f"--denied-peer-ip={net[0]}-{net[-1]}" for net in denied),
        "--no-multicast-peers",
        "--no-tls",
        "--no-tcp-relay",
        "--userdb=:memory:",
        "--pidfile=/dev/null",
        "--log-file=stdout",
        "--simple-log",
        *config.options,
    )


@contextmanager
def coturn(lab: Lab, node: str, config: Coturn, *, deadline: float = 5.0) -> Iterator[Process]:
    """Run coturn in ``node`` while the context lasts; ServiceError if it does not answer in time.

    It is ready when each address answers a STUN Binding over UDP and TCP, asked from
    ``node`` itself so that no capture of the lab's links sees it.  ``deadline`` in seconds.
    """
    process = begin(lab, node, config)
    try:
        await_ready(lab, node, config, process, deadline)
        with watched(lab, node, NAME, process, _questions(config)):
            yield process
    finally:
        process.kill()
        process.wait(deadline)


def begin(lab: Lab, node: str, config: Coturn) -> Process:
    """Start it, and do not wait until it is ready."""
    if shutil.which(config.executable) is None:
        raise UnfitError(f"{config.executable!r} is not installed", remedy="apt-get install coturn")
    process = lab.spawn(node, command(config), CONFINEMENT)
    fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return process


def await_ready(lab: Lab, node: str, config: Coturn, process: Process, deadline: float) -> None:
    """Until it answers everywhere; ServiceError with its last words if it does not in time.

    StarvedServiceError where that is the machine's doing.
    """
    beginning, end = Beginning(node, NAME, process), time.monotonic() + deadline
    for question in _questions(config):
        while not question.answered(lab, node):  # nothing announces a port that opens
            if process.poll() is not None or time.monotonic() >= end:
                raise beginning.unready(_no_answer(question, process), _REMEDY)
            time.sleep(POLL_INTERVAL)


def _questions(config: Coturn) -> Sequence[Question]:
    """A Binding request to each of its addresses, over UDP and TCP."""
    request = stun.binding_request()
    return [
        Question(kind.name, kind, (str(address), port), request, _BINDING_SUCCESS)
        for address in config.addresses
        for kind, port in (
            (socket.SOCK_DGRAM, PORT),
            (socket.SOCK_STREAM, PORT),
            (socket.SOCK_STREAM, HTTPS_PORT),
        )
    ]


def _no_answer(question: Question, process: Process) -> str:
    """To which question, and what it complains about."""
    address, port = question.address
    said = _words(process)[-LAST_WORDS:]
    return f"no STUN answer from {address}:{port} ({question.service})\n{said}".strip()


def _words(process: Process) -> str:
    """What it printed until now."""
    words = b""
    for stream in (process.stdout, process.stderr):
        os.set_blocking(stream.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            words += os.read(stream.fileno(), PIPE_SIZE)
    return foreign.words(words.decode(errors="replace"))
