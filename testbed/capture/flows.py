"""What the routers' conntrack tells of its flows while they live: one line of JSON an event.

The kernel multicasts every entry that is made, changes or goes.  A `FlowRecorder`
listens in the recorder's own process (`testbed.capture.recorder`), which only keeps
the bytes while packets fly.  Events that did not all come are worth nothing, since a
missing one looks like a mapping that never was: then there is no file, and a gap
that says why.
"""

import contextlib
import errno
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from testbed import foreign
from testbed.capture.conntrack import entry
from testbed.errors import CaptureError
from testbed.lab.netfilter import CONNTRACK, FAMILY, NETLINK_NETFILTER, attributes, messages
from testbed.model.gap import Gap, NoEvents, Unheard
from testbed.model.journey import Change, FlowEvent
from testbed.model.packet import Endpoint

_DELETE = CONNTRACK | 2  # IPCTNL_MSG_CT_DELETE; else it is IPCTNL_MSG_CT_NEW,
_CREATED = 0x400  # which is new if it has NLM_F_CREATE, and otherwise an update
_GROUPS = 0b111  # NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY
_STATUS, _TIMESTAMP = 3, 27  # CTA_STATUS; CTA_TIMESTAMP_EVENT, from Linux 6.14
_SEEN_REPLY, _ASSURED = 0x2, 0x4  # IPS_*
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 22  # bytes, where the kernel allows it
_RECEIVE = 8192  # bytes; one event has some 300
_MOST = 100_000  # events: memory is bounded, and no run of peers makes so many

OpenSocket = Callable[[str, int, int, int], socket.socket]  # as `Lab.socket`


class FlowRecorder:
    """Listens to the conntrack of ``nodes`` from the moment it is made.

    A witness of `testbed.capture.recorder.record`; leaving the context closes the sockets.
    """

    def __init__(self, open_socket: OpenSocket, nodes: Sequence[str], path: Path) -> None:
        self._path = path
        self._heard: list[tuple[str, int, bytes]] = []  # node, time in ns, datagram
        self._missed: dict[str, NoEvents] = {}
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        with ExitStack() as stack:
            for node in nodes:
                try:
                    made = open_socket(node, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
                    _listen(stack.enter_context(made))
                    self._sockets[made.fileno()] = node, made
                except OSError as error:
                    refused = NoEvents(node, Unheard.REFUSED, error=str(error.strerror))
                    self._missed[node] = refused
            self._stack = stack.pop_all()
        self.fds = tuple(self._sockets)

    def __enter__(self) -> "FlowRecorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, fd: int) -> None:
        """Keep what has come on the socket ``fd``, without waiting."""
        node, listening = self._sockets[fd]
        while True:
            try:
                data = listening.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._missed[node] = NoEvents(node, Unheard.OVERFLOWED)
                continue
            if len(self._heard) < _MOST:
                self._heard.append((node, time.time_ns(), data))
            else:
                self._missed[node] = NoEvents(node, Unheard.TOO_MANY, _MOST)

    def finish(self) -> list[Gap]:
        """Write the file; or, when events were missed, none, and which and why.

        OSError when the disk does not take it.
        """
        for fd in self.fds:
            self.take(fd)
        if self._missed:
            return list(self._missed.values())
        save_flows(self._path, changes(self._heard))
        return []


def _listen(netlink: socket.socket) -> None:
    for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
        with contextlib.suppress(PermissionError):  # then the kernel's largest has to do
            netlink.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    netlink.setblocking(False)
    netlink.bind((0, _GROUPS))


def changes(heard: Iterable[tuple[str, int, bytes]]) -> list[FlowEvent]:
    """What datagrams (node, time of receipt in ns, bytes) tell, in order of time.

    Not the loopback's flows, nor updates of what a `FlowEvent` does not show.
    """
    told: dict[tuple[object, ...], tuple[object, ...]] = {}
    found = []
    for node, time_ns, data in heard:
        for event in _events(node, time_ns, data):
            flow = (node, event.protocol, event.original)
            state = (event.reply, event.replied, event.assured)
            if event.change is Change.UPDATE and told.get(flow) == state:
                continue
            told[flow] = state
            found.append(event)
    return sorted(found, key=lambda event: event.time_ns)


def _events(node: str, time_ns: int, data: bytes) -> Iterator[FlowEvent]:
    for kind, flags, body in messages(data):
        if body[0] != socket.AF_INET:
            continue
        parts = attributes(body[FAMILY.size :])
        flow = entry(parts)
        if flow.original.source.address.is_loopback:
            continue
        status = int.from_bytes(parts.get(_STATUS, b""), "big")
        if stamp := parts.get(_TIMESTAMP):
            time_ns = int.from_bytes(stamp, "big")
        yield FlowEvent(
            node,
            time_ns,
            Change.DESTROY
            if kind == _DELETE
            else Change.NEW
            if flags & _CREATED
            else Change.UPDATE,
            flow.protocol,
            (flow.original.source, flow.original.destination),
            (flow.reply.source, flow.reply.destination),
            replied=bool(status & _SEEN_REPLY),
            assured=bool(status & _ASSURED),
        )


def unheard(events: Iterable[FlowEvent], held: Mapping[str, int]) -> list[Gap]:
    """The routers that hold flows (node -> `flow_count`) and told of none.

    A kernel whose net.netfilter.nf_conntrack_events is 0 is silent, which looks like peace.
    """
    heard = {event.node for event in events}
    return [
        NoEvents(node, Unheard.SILENT, count)
        for node, count in held.items()
        if count and node not in heard
    ]


def save_flows(path: Path, events: Iterable[FlowEvent]) -> None:
    """The file that `read_flows` reads; OSError."""
    lines = [json.dumps(to_json(event)) + "\n" for event in events]
    path.write_text("".join(lines), encoding="utf-8")


def to_json(event: FlowEvent) -> dict[str, Any]:
    """One line of ``conntrack.jsonl``."""
    return {
        "node": event.node,
        "time_ns": event.time_ns,
        "change": event.change.value,
        "protocol": event.protocol,
        "original": [str(end) for end in event.original],
        "reply": [str(end) for end in event.reply],
        "replied": event.replied,
        "assured": event.assured,
    }


def read_flows(path: Path) -> tuple[FlowEvent, ...]:
    """The events of a file; CaptureError naming file and line where it is damaged."""
    events: list[FlowEvent] = []
    try:
        for line in foreign.read_text(path).splitlines():
            events.append(_from_json(json.loads(line)))
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        where = f"{path}, line {len(events) + 1}"
        raise CaptureError(f"{where}: not a conntrack event ({error})") from None
    return tuple(events)


def _from_json(line: Any) -> FlowEvent:
    """ValueError, LookupError or TypeError when it is not what `to_json` gives."""
    original, reply = ([_endpoint(end) for end in line[way]] for way in ("original", "reply"))
    event = FlowEvent(
        line["node"],
        line["time_ns"],
        Change(line["change"]),
        line["protocol"],
        (original[0], original[1]),
        (reply[0], reply[1]),
        line["replied"],
        line["assured"],
    )
    types = [type(value) for value in (event.time_ns, event.replied, event.assured)]
    if to_json(event) != line or types != [int, bool, bool]:
        raise ValueError("fields that no event has")
    return event


def _endpoint(text: str) -> Endpoint:
    address, _, port = text.partition(":")
    return Endpoint(IPv4Address(address), int(port))
