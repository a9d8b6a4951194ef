"""What the tests' process and its helper say to one another: JSON and descriptors.

A message is one packet of a SOCK_SEQPACKET pair.  A request has the key ``do`` and the
arguments beside it; an answer has ``value``, or ``error`` with what makes the same
error again at the other end.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from testbed import errors
from testbed.errors import BackendError, TestbedError

LONGEST = 1 << 17  # bytes of a message
DESCRIPTORS = 4
_KNOWN: dict[str, type[TestbedError]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, TestbedError)
}


def send(to: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """OSError when nobody is there."""
    socket.send_fds(to, [json.dumps(message).encode()], list(fds))


def receive(source: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A message and its descriptors, which no program inherits; None at the end."""
    try:
        data, fds, _, _ = socket.recv_fds(source, LONGEST, DESCRIPTORS)
    except ConnectionError:
        return None
    for fd in fds:
        os.set_inheritable(fd, False)
    return (json.loads(data), list(fds)) if data else None


def told(error: Exception) -> dict[str, Any]:
    """``error`` as an answer; what is no `TestbedError` becomes a `BackendError`."""
    if isinstance(error, TestbedError):
        known = {"message": error.message, "node": error.node, "remedy": error.remedy}
        return {"error": [type(error).__name__, known]}
    if isinstance(error, TimeoutError):
        return {"error": ["TimeoutError", {"message": str(error)}]}
    return {"error": ["BackendError", {"message": f"{type(error).__name__}: {error}"}]}


def value_of(answer: Mapping[str, Any]) -> Any:
    """What was answered; raises the error that was told."""
    __tracebackhide__ = True
    if "error" not in answer:
        return answer["value"]
    name, known = answer["error"]
    if name == "TimeoutError":
        raise TimeoutError(known["message"])
    raise _KNOWN.get(name, BackendError)(**known)


def in_memory(data: bytes) -> int:
    """A descriptor from which ``data`` is read: what may be longer than a message."""
    fd = os.memfd_create("testbed", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def from_memory(fd: int) -> bytes:
    """The inverse of `in_memory`; closes the descriptor."""
    with os.fdopen(fd, "rb") as file:
        return file.read()
