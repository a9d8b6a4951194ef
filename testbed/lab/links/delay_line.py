"""Impaired links without netem: one process per lab forwards frames between veths.

A link is two veth pairs, node a - wire - node b, with all wires' ends in one
namespace, where the process has a packet socket.  It needs no kernel module, no
device file and, inside a user namespace, no privilege.  The nodes' ends must send finished frames
(`disable_offloads`); a frame that is not is counted as ``unfinished`` and dropped.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import NoReturn

from testbed.errors import BackendError
from testbed.lab.links.forwarder import Forwarder, Wire
from testbed.lab.links.interfaces import namespace_of
from testbed.lab.links.tunnel import TunnelEnds
from testbed.model.frozen import FrozenValue
from testbed.model.topology import Impairment

__all__ = ["Counters", "DelayLine", "Wire", "delay_line"]

_DEADLINE = 5.0  # seconds for the process to get ready, to answer, to end
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x4000_0000

_libc = ctypes.CDLL(None, use_errno=True)


class Counters(FrozenValue):
    """What became of the frames of one direction, and how punctual it was."""

    wire: str
    direction: str  # "a_to_b" or "b_to_a"
    forwarded: int
    lost: int  # by the impairment's loss
    overflowed: int  # no room in the queue of the impairment's rate
    severed: int  # entered while the wire was down
    oversized: int  # longer than the impairment lets pass
    missed: int  # by all wires together, which share a ring: this machine was too slow
    unfinished: int  # cut, or without a checksum: the sender's offloads are on
    refused: int  # the far interface was down
    latest_us: int  # by how much the most delayed frame left after it was due

    @property
    def faithful(self) -> bool:
        """False if the harness, not the impairment, lost a frame."""
        return not (self.missed or self.unfinished)


class DelayLine:
    """The running process ``pid``, as the lab holds it (`testbed.lab.links.base.Links`)."""

    def __init__(self, names: Sequence[str], pid: int, control: socket.socket) -> None:
        self._names = names
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._control = control
        self._final: tuple[Counters, ...] | None = None

    def set(
        self, name: str, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None
    ) -> None:
        """Replace the impairment of one or both directions from the next frame on."""
        self._order(
            name,
            a_to_b=asdict(a_to_b) if a_to_b is not None else None,
            b_to_a=asdict(b_to_a) if b_to_a is not None else None,
        )

    def down(self, name: str) -> None:
        """Cut the wire: nothing that enters it arrives, what is on its way still does."""
        self._order(name, cut=True)

    def up(self, name: str) -> None:
        """Mend the wire."""
        self._order(name, cut=False)

    def counters(self) -> tuple[Counters, ...]:
        """Two for each wire, in its order; after the end, how they stood then."""
        return self._final if self._final is not None else self._ask({})

    def _order(self, name: str, **order: object) -> None:
        if name not in self._names:
            raise BackendError(f"no wire {name!r}", remedy=f"one of: {', '.join(self._names)}")
        self._ask({"wire": name, **order})

    def _ask(self, order: dict[str, object]) -> tuple[Counters, ...]:
        try:
            self._control.send(json.dumps(order).encode())
            answer = self._control.recv(1 << 20)
        except OSError as error:
            raise BackendError(f"the delay line does not answer: {error}") from error
        if not answer:
            raise BackendError("the delay line has died; its last words are on standard error")
        sides = [(name, side) for name in self._names for side in ("a_to_b", "b_to_a")]
        return tuple(
            Counters(*side, *row) for side, row in zip(sides, json.loads(answer), strict=True)
        )

    def await_ready(self) -> None:
        """Return once frames are forwarded; BackendError after the deadline."""
        self._control.settimeout(_DEADLINE)
        try:
            ready = self._control.recv(16)
        except OSError as error:
            raise BackendError(f"the delay line did not get ready: {error}") from error
        if not ready:
            raise BackendError("the delay line could not start; standard error says why")

    def stop(self) -> None:
        """Let it end, and keep its counters; BackendError if it had died before."""
        self._final = self._ask({"stop": True})

    def end(self) -> None:
        """Make sure that the process is gone, and reap it."""
        self._control.close()  # the process ends by itself when it sees this
        if not select.select([self._pidfd], [], [], _DEADLINE)[0]:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)
        with suppress(ChildProcessError):  # the program may reap its children elsewhere
            os.waitpid(self.pid, 0)


@contextmanager
def delay_line(
    wires: Sequence[Wire], *, seed: int, tunnels: Sequence[TunnelEnds] = ()
) -> Iterator[DelayLine]:
    """Forward frames on ``wires`` and in ``tunnels`` within the context, in a process of its own.

    Takes their sockets over: they are closed here.  Frames flow from the moment it
    yields.  The same seed and traffic lose the same frames.  The process dies with
    the *thread* that called this, so that should be the main one, and the only one
    (it forks).  BackendError: it did not start, or had died before the end.
    """
    names = [wire.name for wire in wires]
    if len(set(names)) < len(names):
        raise BackendError(f"two wires share a name: {', '.join(sorted(names))}")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        _live(wires, theirs, seed, tunnels)
    theirs.close()
    for sock in _sockets(wires, tunnels):
        sock.close()
    line = DelayLine(names, pid, ours)
    try:
        line.await_ready()
        yield line
        line.stop()
    finally:
        line.end()


def _sockets(wires: Sequence[Wire], tunnels: Sequence[TunnelEnds]) -> list[socket.socket]:
    """Those that stand for interfaces of the bench, then those in the nodes."""
    ends: Sequence[Wire | TunnelEnds] = (*wires, *tunnels)
    bench = [sock for one in ends for sock in (one.a, one.b)]
    return [*bench, *(sock for one in tunnels for sock in (one.near, one.far))]


def _live(
    wires: Sequence[Wire], control: socket.socket, seed: int, tunnels: Sequence[TunnelEnds]
) -> NoReturn:
    """The child's whole life; never returns into the caller's program."""
    status = 1
    try:
        # Even on SIGKILL of the parent; a parent dead before this shows as the control's end.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sockets = _sockets(wires, tunnels)
        _keep_only({2, control.fileno(), *(sock.fileno() for sock in sockets)})
        gc.disable()  # nothing here makes cycles, and a collection is a late frame
        if sockets:
            _enter_namespace(sockets[: 2 * (len(wires) + len(tunnels))])
        forwarder = Forwarder(wires, control, seed, tunnels)
        control.send(b"ready")
        forwarder.run()
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(status)


def _enter_namespace(sockets: Iterable[socket.socket]) -> None:
    """Go where the interfaces are; OSError, or ValueError if that is not one namespace."""
    found = {os.fstat(fd).st_ino: fd for fd in map(namespace_of, sockets)}
    if len(found) != 1:
        raise ValueError("the wires' interfaces are in different namespaces")
    if _libc.setns(*found.values(), _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the wires' namespace")


def _keep_only(descriptors: Iterable[int]) -> None:
    """Close all others: a peer waits for the end of a pipe that we would hold open."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    first = 2
    for kept in sorted(descriptors):
        os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
