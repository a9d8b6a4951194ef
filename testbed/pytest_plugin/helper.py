"""The helper process, as the tests' process holds it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.errors import BackendError
from testbed.pytest_plugin.channel import receive, send, value_of

STARTING = 30.0  # seconds to import, and to enter the sandbox
ENDING = 10.0  # seconds from the end of the channel to the end of the process
_LAST_WORDS = 2000  # bytes


class Helper:
    """A process in a sandbox, which makes labs; ``results`` is where it is to write.

    UnfitError where this machine allows no sandbox.
    """

    def __init__(self, results: Path) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = theirs.fileno()
        words = [sys.executable, "-m", "testbed.pytest_plugin.inside", str(os.getpid()), str(fd)]
        # A group of its own: a Ctrl-C is for the tests, and the end of the channel ends it.
        self._process = subprocess.Popen(
            [*words, str(results)],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            pass_fds=[fd],
            start_new_session=True,
        )
        theirs.close()
        try:
            self._answer(STARTING, "a sandbox")
        except BaseException:
            self.close()
            raise

    @property
    def ended(self) -> bool:
        return self._socket.fileno() < 0

    def ask(
        self, do: str, deadline: float, fds: Sequence[int] = (), **arguments: Any
    ) -> tuple[Any, list[int]]:
        """The answer, and its descriptors; raises what went wrong at the other end.

        After anything else - the deadline in seconds, a Ctrl-C - the helper is ended: its
        late answer must not be taken for another.
        """
        __tracebackhide__ = True
        if self.ended:
            raise BackendError("the lab has ended")
        try:
            send(self._socket, {"do": do, **arguments}, fds)
        except OSError as error:
            raise self._gone(do) from error
        return self._answer(deadline, do)

    def close(self) -> None:
        """Return when it has ended, and with it all that it made."""
        if self.ended:
            return
        self._socket.close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _answer(self, deadline: float, what: str) -> tuple[Any, list[int]]:
        __tracebackhide__ = True
        self._socket.settimeout(deadline)
        try:
            message = receive(self._socket)
        except TimeoutError:
            self.close()
            raise BackendError(f"the lab gave no answer within {deadline:g} s: {what}") from None
        except BaseException:
            self.close()
            raise
        if message is None:
            raise self._gone(what)
        answer, fds = message
        return value_of(answer), fds

    def _gone(self, what: str) -> BackendError:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _LAST_WORDS))
        words = self._said.read().decode(errors="replace").strip()
        self.close()
        return BackendError(f"the lab's process ended meanwhile ({what})\n{words}".rstrip())
