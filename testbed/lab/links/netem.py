"""Impaired links by the kernel's own netem, one qdisc on the egress of each end.

netem draws loss and jitter from its own generator, which is not seeded here.
"""

import errno
import os
import socket
import struct
from collections.abc import Mapping

from testbed.errors import BackendError, UnfitError
from testbed.lab.links.base import frames_held
from testbed.lab.rtnetlink import netem
from testbed.model.frozen import FrozenValue
from testbed.model.topology import Impairment

MISSING = (
    "this kernel has no netem (module sch_netem; Debian: in linux-image, Ubuntu: in "
    "linux-modules-extra-$(uname -r), Fedora: in kernel-modules-extra)"
)
_ERROR = 2
_ACKNOWLEDGEMENT = struct.Struct("=IHHIIi")  # length, type, flags, sequence, port, -errno
_DEADLINE = 5.0

_LOOPBACK = 1  # the interface index in every namespace
_CUT = Impairment(loss=1.0)
# A rate makes netem keep frames in order, which jitter alone does not: this one is
# the highest it can say in 32 bits (bytes a second), 0.4 us a frame.
_UNLIMITED = 0xFFFF_FFFF


class Egress(FrozenValue):
    """One end of a link: a NETLINK_ROUTE socket of its namespace, the interface there."""

    netlink: socket.socket
    ifindex: int


class NetemLinks:
    """Started links of a lab (`testbed.lab.links.base.Links`).

    ``ends`` gives, by name, the ends a and b; frames from a to b leave at end a.
    """

    def __init__(self, ends: Mapping[str, tuple[Egress, Egress]]) -> None:
        self._ends = ends
        self._wanted = {name: [Impairment(), Impairment()] for name in ends}
        self._down: set[str] = set()

    def set(
        self, name: str, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None
    ) -> None:
        """Replace the impairment of one or both directions from the next frame on.

        A wire that is down stays down, and comes up with what was set.
        """
        self._known(name)
        for side, impairment in enumerate((a_to_b, b_to_a)):
            if impairment is not None:
                self._wanted[name][side] = impairment
        if name not in self._down:
            self._apply(name, *self._wanted[name])

    def down(self, name: str) -> None:
        """Cut the wire: nothing that enters it arrives, what is on its way still does."""
        self._known(name)
        self._down.add(name)
        self._apply(name, _CUT, _CUT)

    def up(self, name: str) -> None:
        """Mend the wire."""
        self._known(name)
        self._down.discard(name)
        self._apply(name, *self._wanted[name])

    def _known(self, name: str) -> None:
        if name not in self._ends:
            raise BackendError(f"no wire {name!r}", remedy=f"one of: {', '.join(self._ends)}")

    def _apply(self, name: str, *impairments: Impairment) -> None:
        for end, impairment in zip(self._ends[name], impairments, strict=True):
            apply(end.netlink, end.ifindex, impairment)


def expressible(impairment: Impairment) -> bool:
    """Whether netem, as it is set here, can do that."""
    return impairment.burst is None and impairment.largest is None


def _options(impairment: Impairment) -> dict[str, float]:
    """The impairment as pyroute2's netem keywords.

    delay and jitter are in us, loss in percent, rate in bytes a second, limit in frames.
    """
    rate = _UNLIMITED if impairment.jitter_ms else 0
    if impairment.rate_mbit is not None:
        rate = min(_UNLIMITED, max(1, round(impairment.rate_mbit * 1e6 / 8)))
    return {
        "delay": round(impairment.delay_ms * 1000),
        "jitter": round(impairment.jitter_ms * 1000),
        "loss": impairment.loss * 100,
        **({"prob_reorder": impairment.reorder * 100, "gap": 1} if impairment.reorder else {}),
        "duplicate": impairment.duplicate * 100,
        "limit": frames_held(impairment),
        "rate": rate,  # always said: left out, a change would keep the former one
    }


def message(ifindex: int, impairment: Impairment) -> bytes:
    """RTM_NEWQDISC that makes netem the root qdisc of ``ifindex``, or changes it in place."""
    return netem(ifindex, tuple(_options(impairment).items())).data


def apply(netlink: socket.socket, ifindex: int, impairment: Impairment) -> None:
    """Impair what leaves ``ifindex``, in place of what was set before.

    ``netlink`` is a bound NETLINK_ROUTE socket made in the interface's namespace, with
    no answer outstanding.  UnfitError if the kernel has no netem, BackendError for any
    other refusal.
    """
    netlink.settimeout(_DEADLINE)
    try:
        netlink.send(message(ifindex, impairment))
        answer = netlink.recv(1 << 16)
    except OSError as error:
        raise BackendError(f"netem on interface {ifindex}: {error}") from error
    _, kind, _, _, _, code = _ACKNOWLEDGEMENT.unpack_from(answer)
    if kind != _ERROR:
        raise BackendError(f"netem on interface {ifindex}: unexpected answer of type {kind}")
    if code == -errno.ENOENT:
        raise UnfitError(MISSING, remedy="install it, or use the delay line")
    if code:
        raise BackendError(f"netem on interface {ifindex}: {os.strerror(-code)}")


def netem_available(probe_netlink: socket.socket) -> bool:
    """Whether this kernel has netem, found by using it.

    ``probe_netlink`` is a bound NETLINK_ROUTE socket of a namespace made for this
    question: its loopback interface carries the qdisc afterwards.  BackendError if
    the caller may not set one.
    """
    try:
        apply(probe_netlink, _LOOPBACK, Impairment(delay_ms=1.0, jitter_ms=1.0, rate_mbit=1.0))
    except UnfitError:
        return False
    return True
