"""Packets of a lab that is up, live, in a process that stays outside of it.

A fork enters the lab, makes a packet socket in the node and hands it out: so files
are written as the caller, where the caller sees them, and the lab's are never opened.
"""

import contextlib
import os
import select
import signal
import socket
import struct
from collections.abc import Generator, Iterator, Sequence
from typing import NoReturn

from testbed.errors import BackendError, UsageError
from testbed.lab import kernel
from testbed.lab.attach import Entrance, Running, enter, way_in
from testbed.model.frozen import FrozenValue

_ETH_P_ALL = 0x0003
_TIMESTAMPS = 35  # SO_TIMESTAMPNS, and the type of the message that bears one
_TIME = struct.Struct("@ll")  # seconds, nanoseconds
_SOL_PACKET, _STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 23  # bytes, where the kernel allows it
_LONGEST = 1 << 16  # bytes of a frame
_AT_ONCE = 1000  # frames
_DEADLINE = 5.0  # seconds
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Seen(FrozenValue):
    """One frame as it passed an interface."""

    ifname: str
    time_ns: int  # CLOCK_REALTIME, stamped by the kernel
    kind: int  # sll_pkttype, as `testbed.capture.ring.Frame` has it
    data: bytes

    @property
    def outgoing(self) -> bool:
        return self.kind == socket.PACKET_OUTGOING


class Tap:
    """The packets of a node from the moment that `tap` gave it; close it, or leave the context.

    ``interfaces``: those that it shows.
    """

    def __init__(self, sock: socket.socket, interfaces: Sequence[str], lab: int) -> None:
        self.interfaces = tuple(interfaces)
        self._socket = sock
        self._lab = lab  # a pidfd: the socket would keep the node alive when the lab has gone

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        os.close(self._lab)

    def frames(self, out: int) -> Generator[Seen]:
        """Frames as they come.

        Ends with the lab, with Ctrl-C or another signal to end, and when nobody reads
        the descriptor ``out`` any more.
        """
        with _stops() as stopped:
            poll = select.poll()
            for fd in (self._socket.fileno(), self._lab, stopped):
                poll.register(fd, select.POLLIN)
            poll.register(out, 0)  # a broken pipe alone
            while True:
                ready = dict(poll.poll())
                for _ in range(_AT_ONCE):  # a flood must not keep a Ctrl-C waiting
                    seen = self._receive()
                    if seen is None:
                        break
                    if seen.ifname in self.interfaces:
                        yield seen
                if ready.keys() - {self._socket.fileno()}:
                    return

    def _receive(self) -> Seen | None:
        try:
            data, extra, _, about = self._socket.recvmsg(_LONGEST, 64)
        except BlockingIOError:
            return None
        except OSError:  # ENETDOWN: one of its interfaces has gone
            return None
        seconds, nanoseconds = next(
            _TIME.unpack_from(value) for _, kind, value in extra if kind == _TIMESTAMPS
        )
        return Seen(about[0], seconds * 10**9 + nanoseconds, about[2], data)

    @property
    def ended(self) -> bool:
        """The lab has gone."""
        return bool(select.select([self._lab], [], [], 0)[0])

    def lost(self) -> int:
        """Packets that came faster than they were taken, since the last time of asking."""
        answer = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)
        return int(struct.unpack("2I", answer)[1])


@contextlib.contextmanager
def _stops() -> Iterator[int]:
    """A descriptor that is readable once a signal to end has come; a second one kills."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.write(writer, b"!")

    ignored = {number for number in _STOPS if signal.getsignal(number) is signal.SIG_IGN}
    before = {number: signal.signal(number, stop) for number in _STOPS if number not in ignored}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def tap(lab: Running, node: str, ifname: str | None = None) -> Tap:
    """The packets of ``node``'s wires, or of its one interface ``ifname``.

    UsageError when there is no such node or interface, BackendError when the lab does
    not answer.  Forks: the caller must have one thread.
    """
    entrance = way_in(lab, node)
    names = entrance.words["interfaces"]
    assert isinstance(names, list)  # as `attach` answers
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        pid = os.fork()
        if pid == 0:
            _hand_out(there, lab, entrance, ifname)
        there.close()
        here.settimeout(_DEADLINE)
        try:
            said, fds, _, _ = socket.recv_fds(here, 4096, 1)
        except OSError as error:
            raise BackendError(f"no packet socket: {error}", node=node) from error
        finally:
            os.kill(pid, signal.SIGKILL)  # it has ended, or will not
            os.waitpid(pid, 0)
            for fd in entrance.fds:
                os.close(fd)
    if not fds:
        raise UsageError(
            f"{node}: no packets of {ifname or 'it'}: {said.decode()}",
            remedy=f"one of: {', '.join(names)}",
        )
    made = socket.socket(fileno=fds[0])
    made.setblocking(False)
    return Tap(made, [ifname] if ifname else names, os.pidfd_open(lab.pid))


def _hand_out(out: socket.socket, lab: Running, entrance: Entrance, ifname: str | None) -> NoReturn:
    """In the fork."""
    try:
        enter(lab, entrance)
        kernel.setns(entrance.fds[-1], kernel.CLONE_NEWNET)
        protocol = 0 if ifname else socket.htons(_ETH_P_ALL)  # 0: deaf until it is bound
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, protocol)
        made.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            with contextlib.suppress(PermissionError):
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if ifname:
            made.bind((ifname, _ETH_P_ALL))
        socket.send_fds(out, [b"here"], [made.fileno()])
    except OSError as error:
        out.send((error.strerror or str(error)).encode())
    finally:
        os._exit(0)
