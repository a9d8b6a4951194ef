"""Records every packet at every vantage point of a lab into one pcapng file.

One forked process per lab holds a memory-mapped ring per interface
(`testbed.capture.ring`) and empties them (`testbed.capture.drain`); whoever
records only starts and stops it.  Nothing is lost in silence: packets that the
kernel dropped are counted per vantage point, and any other failure is a
`CaptureError` when the context is left.
"""

import contextlib
import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from testbed.capture.drain import Drain, Witness
from testbed.capture.pcapng import Recording, VantageCount
from testbed.capture.ring import Ring
from testbed.errors import CaptureError
from testbed.model.gap import Gap
from testbed.model.plan import Vantage
from testbed.model.saved import gaps_from_json

_PR_SET_PDEATHSIG = 1
_REMEDIES = {
    errno.ENOSPC: "free space on that disk, or choose another folder for the results",
    errno.EDQUOT: "free space within the quota, or choose another folder for the results",
    errno.EACCES: "choose a folder that can be written to",
    errno.EPERM: "CAP_NET_RAW is needed in the node's user namespace",
    errno.ENOMEM: "run fewer labs side by side, or ask for smaller rings",
    errno.ENODEV: "the plan names an interface that the node does not have",
}


class Recorder:
    """A running capture.

    ``recording``, and what the witness ``missed``, are there once its context was left
    without error.
    """

    recording: Recording
    missed: tuple[Gap, ...]

    def __init__(self, pid: int, path: Path, control: int, report: int, patience: float) -> None:
        self.pid = pid
        self.path = path
        self._control = control
        self._report = report
        self._patience = patience
        self._buffer = b""
        self._reaped = False

    def await_ready(self) -> None:
        """Return when every vantage point records; CaptureError otherwise."""
        self._expect("ready", "every interface to be bound")

    def finish(self) -> None:
        """Stop, and wait for the file; CaptureError when it could not be made."""
        with contextlib.suppress(BrokenPipeError):  # `_expect` says what became of it
            os.write(self._control, b"s")
        end = self._expect("done", "the file to be written")
        counted = tuple(VantageCount(*count) for count in end["done"])
        self.missed = gaps_from_json(end["missed"])
        self.recording = Recording(self.path, counted)

    def end(self) -> None:
        """Take the process away, whatever its state."""
        os.close(self._control)
        if not self._reaped:
            if hasattr(self, "recording"):
                self._await_end()
            os.kill(self.pid, signal.SIGKILL)  # the result is here, or worth nothing
            self._reap()
        os.close(self._report)

    def _await_end(self) -> None:
        poll = select.poll()
        poll.register(self._report, 0)  # hang-up alone
        poll.poll(self._patience * 1000)

    def _expect(self, wanted: str, purpose: str) -> dict[str, Any]:
        """The message with ``wanted``; signs of life before it renew the deadline."""
        while True:
            message = self._message(purpose)
            if wanted in message:
                return message
            if "error" in message:
                raise CaptureError(message["error"], remedy=_REMEDIES.get(message["errno"]))

    def _message(self, purpose: str) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience
        poll = select.poll()
        poll.register(self._report, select.POLLIN)
        while b"\n" not in self._buffer:
            if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise CaptureError(
                    f"the recorder was silent for {self._patience:g} s; waited for {purpose}",
                    remedy="run fewer labs side by side",
                )
            chunk = os.read(self._report, 65536)
            if not chunk:
                raise CaptureError(
                    f"the recorder ended ({self._reap()}) before its time; waited for {purpose}",
                    remedy=f"do not trust what there is of {self.path}; run again",
                )
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _reap(self) -> str:
        self._reaped = True
        try:
            _pid, status = os.waitpid(self.pid, 0)
        except ChildProcessError:  # somebody waits for all children
            return "cause unknown"
        code = os.waitstatus_to_exitcode(status)
        return f"signal {-code}" if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def record(
    open_socket: Callable[[Vantage], socket.socket],
    vantages: Sequence[Vantage],
    path: Path,
    *,
    ring_bytes: int = 2**20,
    patience: float = 20.0,
    witness: Witness | None = None,
) -> Iterator[Recorder]:
    """Record all ``vantages`` into ``path`` while the context lasts.

    ``open_socket`` gives an AF_PACKET, SOCK_RAW socket with protocol 0, made in
    the vantage's node; it is closed here.  On entry every interface is bound;
    what passes from then until the context is left is in the file, or counted in
    ``recorder.recording.dropped``.  ``ring_bytes`` is kernel memory per vantage.
    ``witness`` is listened to in the same process, and writes what it heard at the end.

    Raises CaptureError, on entry or on leaving: no such interface, a full disk,
    a recorder that died or said nothing for ``patience`` seconds.  When the
    body raises, its own error goes on and the capture's is added as a note.
    Forks: call it while this process has a single thread, and from one that outlives
    the capture (the recorder ends with the thread that started it).
    """
    recorder = _start(open_socket, vantages, path, ring_bytes, patience, witness)
    try:
        recorder.await_ready()
        try:
            yield recorder
        except BaseException as error:
            try:
                recorder.finish()
            except CaptureError as second:
                error.add_note(str(second))
            raise
        recorder.finish()
    finally:
        recorder.end()


def _start(
    open_socket: Callable[[Vantage], socket.socket],
    vantages: Sequence[Vantage],
    path: Path,
    ring_bytes: int,
    patience: float,
    witness: Witness | None,
) -> Recorder:
    if not vantages:
        raise CaptureError("there is no vantage point to record")
    with contextlib.ExitStack() as stack:
        rings = [
            Ring(stack.enter_context(open_socket(vantage)), vantage.ifname, ring_bytes)
            for vantage in vantages
        ]
        control_out, control_in = os.pipe()
        report_out, report_in = os.pipe()
        names = [vantage.name for vantage in vantages]
        drain = Drain(rings, names, path, control_out, report_in, witness)
        parent = os.getpid()
        # Until the child has put the parent's signal handlers away, none may run in it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                heard = witness.fds if witness else ()
                keep = [*(ring.fd for ring in rings), *heard, control_out, report_in]
                _be_the_child(drain, keep, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(control_out)
        os.close(report_in)
    return Recorder(pid, path, control_in, report_out, patience)


def _be_the_child(drain: Drain, keep: Sequence[int], parent: int) -> NoReturn:
    """Run ``drain`` and end, with nothing of the parent's but the descriptors ``keep``."""
    code = 1
    try:
        gc.disable()  # the parent's objects are not ours to visit
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(code)  # it died before it could take us along
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            # Ctrl-C reaches the whole group; we end when the parent says so or is gone.
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        _close_all_but(keep)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        drain.run()
        code = 0
    finally:
        os._exit(code)


def _close_all_but(keep: Sequence[int]) -> None:
    """Close what was inherited, so that nobody's pipe stays open because of us."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard not in keep:
            os.dup2(null, standard)
    low = 3
    for fd in sorted({fd for fd in keep if fd > 2}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
