"""Nobody changes a router while peers are at work: its kernel is heard, and asked again after.

Peers run with much power over the network that they are in.  What is changed and changed
back leaves no trace in a list of rules, and so every change is listened for.  A router's
own program for port mappings changes a table and two sets of its own, and may.
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from testbed.errors import ChangedError
from testbed.lab.netfilter import FAMILY, NETLINK_NETFILTER, NFTABLES, attributes, messages
from testbed.model.fault import Difference, LabDiffers
from testbed.model.lab import Lab
from testbed.model.plan import AddNode, NodeKind, ServePortMapping, SetSysctls
from testbed.words.faults import difference

_ADD_MEMBERSHIP, _SOL_NETLINK = 1, 270
_RULES = 7  # NFNLGRP_NFTABLES
_NEW_GENERATION = NFTABLES | 15  # NFT_MSG_NEWGEN: a transaction ended, of whatever
_PORT_MAPPING = "portmap"  # the table of `nat-profiles/rules/portmap.j2`
_RESERVED = {"mapped_tcp", "mapped_udp"}  # sets of `nftables.j2` whose elements are the gateway's
_ELEMENTS = {NFTABLES | 12, NFTABLES | 14}  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
_NAME = 1  # of the table, in each kind of message: NFTA_TABLE_NAME, NFTA_RULE_TABLE, ...
_SET = 2  # NFTA_SET_ELEM_LIST_SET
# RTNLGRP_*: what the network of a node consists of, and the words for a change of it.
_NETWORK = {1: "a link", 4: "a queue", 5: "an address", 7: "a route", 8: "a rule of routing"}
_SWITCHES = 24  # RTNLGRP_IPV4_NETCONF: forwarding, reverse path filter, ...
# RTM_NEW* and RTM_DEL* -> the group that has them.
_KINDS = {
    **{16: 1, 17: 1, 36: 4, 37: 4, 20: 5, 21: 5, 24: 7, 25: 7, 32: 8, 33: 8, 80: 24, 81: 24},
}
_NEW_LINK = 16
_LINK = struct.Struct("=BBHiII")  # ifinfomsg
_IFNAME = 3  # IFLA_IFNAME
_RECEIVE = 1 << 16
_LOST = -1
_MOST = 8  # changes of one node that are told


class Guard:
    """Of all routers of a lab, and of its core."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        nodes = [step.node for step in lab.plan.of(AddNode) if step.kind is not NodeKind.HOST]
        self._sentries = {node: _Sentry(lab, node, stack) for node in nodes}

    def changes(self) -> list[LabDiffers]:
        """What has changed since this was made."""
        return [change for sentry in self._sentries.values() for change in sentry.changes()]

    @contextmanager
    def allowing(self, nodes: Collection[str]) -> Iterator[None]:
        """Let the rules and the network of ``nodes`` be changed within the context: by us."""
        chosen = [one for node, one in self._sentries.items() if node in nodes]
        for sentry in chosen:
            sentry.take()
        try:
            yield
        finally:
            for sentry in chosen:
                sentry.forget()


@contextmanager
def guarded(lab: Lab) -> Iterator[Guard]:
    """Listen to the routers of ``lab`` within the context."""
    with ExitStack() as stack:
        yield Guard(lab, stack)


@contextmanager
def unchanged(lab: Lab) -> Iterator[Guard]:
    """As `guarded`; on leaving a ChangedError if somebody changed a router, whatever else failed.

    Who is failed by a network that somebody changed cannot be blamed for it.
    """
    with guarded(lab) as guard:
        try:
            yield guard
        finally:
            if changes := guard.changes():
                raise ChangedError(difference(changes[0]), node=changes[0].node)


class _Sentry:
    """One node, which is listened to from the moment that this is made."""

    def __init__(self, lab: Lab, node: str, stack: ExitStack) -> None:
        self._lab, self._node = lab, node
        self._links = lab.interfaces(node)
        mapped = any(step.node == node for step in lab.plan.of(ServePortMapping))
        self._tables = {_PORT_MAPPING} if mapped else set()
        self._sets = _RESERVED if mapped else set()
        self._rules = stack.enter_context(_heard(lab, node, NETLINK_NETFILTER, [_RULES]))
        groups = [*_NETWORK, _SWITCHES]
        self._network = stack.enter_context(_heard(lab, node, socket.NETLINK_ROUTE, groups))
        self._found: list[LabDiffers] = []

    def changes(self) -> list[LabDiffers]:
        """Each once."""
        self.take()
        found = [*self._found, *self._sysctls(), *self._processes()]
        return list(dict.fromkeys(found))[:_MOST]

    def take(self) -> None:
        """Keep what was told until now."""
        self._found += self._changed(Difference.RULES_CHANGED, self._rules, self._table)
        self._found += self._changed(Difference.NETWORK_CHANGED, self._network, self._part)

    def forget(self) -> None:
        """Let what was told since the last `take` be as if it had not been."""
        for heard in (self._rules, self._network):
            for _ in _taken(heard):
                pass

    def _changed(
        self,
        difference: Difference,
        heard: socket.socket,
        what: Callable[[int, bytes], str | None],
    ) -> Iterator[LabDiffers]:
        for kind, body in _taken(heard):
            if (word := what(kind, body)) is not None:
                yield LabDiffers(difference, self._node, word)

    def _table(self, kind: int, body: bytes) -> str | None:
        if kind == _NEW_GENERATION:
            return None
        told = attributes(body[FAMILY.size :])
        table, part = (
            told.get(one, b"").rstrip(b"\0").decode(errors="replace") for one in (_NAME, _SET)
        )
        own = table in self._tables or (kind in _ELEMENTS and part in self._sets)
        return None if own else table

    def _part(self, kind: int, body: bytes) -> str | None:
        """A link that is there tells now and then that it is; others are new, or go."""
        group = _KINDS.get(kind)
        if kind == _LOST:
            return "more than was heard"
        if kind == _NEW_LINK:
            name = attributes(body[_LINK.size :]).get(_IFNAME, b"").rstrip(b"\0").decode()
            return None if name in self._links else name
        return "a switch" if group == _SWITCHES else _NETWORK.get(group or 0)

    def _sysctls(self) -> Iterator[LabDiffers]:
        planned: dict[str, str] = {}
        plan = self._lab.plan
        steps: list[AddNode | SetSysctls] = [*plan.of(AddNode), *plan.of(SetSysctls)]
        for step in steps:
            planned |= dict(step.sysctls) if step.node == self._node else {}
        for key, value in self._lab.sysctls(self._node, list(planned)).items():
            if value.split() != planned[key].split():
                yield LabDiffers(Difference.SYSCTL_CHANGED, self._node, f"{key} = {value}")

    def _processes(self) -> Iterator[LabDiffers]:
        for name in self._lab.strangers(self._node):
            yield LabDiffers(Difference.STRANGE_PROCESS, self._node, name)


@contextmanager
def _heard(lab: Lab, node: str, protocol: int, groups: Sequence[int]) -> Iterator[socket.socket]:
    with lab.socket(node, socket.AF_NETLINK, socket.SOCK_RAW, protocol) as made:
        made.setblocking(False)
        made.bind((0, 0))
        for group in groups:
            made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        yield made


def _taken(heard: socket.socket) -> Iterator[tuple[int, bytes]]:
    """(type, body) of all that was told; of what was too much to be kept the type is `_LOST`."""
    while True:
        try:
            data = heard.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield _LOST, b""
            continue
        for kind, _, body in messages(data):
            yield kind, body
