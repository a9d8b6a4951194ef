"""Conntrack events, from the kernel's bytes to a file and back; and what makes them worthless."""

import errno
import json
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from test_capture_conntrack import attribute, headers

from testbed.capture import flows
from testbed.capture.flows import FlowRecorder, changes, read_flows, to_json, unheard
from testbed.errors import CaptureError
from testbed.lab.netfilter import messages
from testbed.model.gap import Gap, NoCounters, NoEvents, Unheard
from testbed.model.journey import Change, FlowEvent
from testbed.model.packet import Endpoint
from testbed.model.saved import gaps_from_json, gaps_to_json
from testbed.words import sentence

INSIDE = Endpoint(IPv4Address("10.0.0.2"), 4001)
OUTSIDE = Endpoint(IPv4Address("29.0.0.2"), 31939)
SERVER = Endpoint(IPv4Address("29.0.0.18"), 443)
LOCAL = Endpoint(IPv4Address("127.0.0.1"), 53)
NEW, DELETE, CREATED = 0x100, 0x102, 0x600
REPLIED, ASSURED = 0x2, 0x4


def datagram(
    kind: int = NEW,
    flags: int = 0,
    status: int = 0,
    stamp: int | None = None,
    source: Endpoint = INSIDE,
    family: int = socket.AF_INET,
) -> bytes:
    body = struct.pack("=BBH", family, 0, 0)
    body += headers(1, 17, source, SERVER) + headers(2, 17, SERVER, OUTSIDE)
    body += attribute(3, struct.pack("!I", 0x188 | status))
    body += attribute(27, struct.pack("!Q", stamp)) if stamp else b""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def event(change: Change = Change.NEW, time_ns: int = 1, **words: bool) -> FlowEvent:
    return FlowEvent("nat-a", time_ns, change, "udp", (INSIDE, SERVER), (SERVER, OUTSIDE), **words)


def test_a_flow_is_followed_from_its_first_packet_to_its_end() -> None:
    heard = [
        ("nat-a", 1, datagram(flags=CREATED)),
        ("nat-a", 2, datagram(status=REPLIED)),
        ("nat-a", 3, datagram(status=REPLIED | ASSURED)),
        ("nat-a", 4, datagram(DELETE, status=REPLIED | ASSURED)),
    ]
    assert changes(heard) == [
        event(),
        event(Change.UPDATE, 2, replied=True),
        event(Change.UPDATE, 3, replied=True, assured=True),
        event(Change.DESTROY, 4, replied=True, assured=True),
    ]


def test_the_kernels_time_goes_before_that_of_the_receipt() -> None:
    heard = [
        ("nat-a", 90, datagram(flags=CREATED, stamp=20)),
        ("nat-b", 91, datagram(flags=CREATED, stamp=10)),
    ]
    assert [(one.node, one.time_ns) for one in changes(heard)] == [("nat-b", 10), ("nat-a", 20)]


def test_an_update_of_what_no_event_shows_is_left_out() -> None:
    same = [("nat-a", 1, datagram(flags=CREATED)), ("nat-a", 2, datagram())]
    assert len(changes(same)) == 1
    assert len(changes([*same, ("nat-b", 3, datagram())])) == 2  # of another router


def test_loopback_and_ipv6_are_not_the_labs() -> None:
    heard = [
        ("nat-a", 1, datagram(flags=CREATED, source=LOCAL)),
        ("nat-a", 2, datagram(flags=CREATED, family=socket.AF_INET6)),
    ]
    assert changes(heard) == []


def test_several_messages_in_one_datagram_are_all_read() -> None:
    both = datagram(flags=CREATED) + datagram(DELETE)
    assert [kind for kind, _, _ in messages(both)] == [NEW, DELETE]


def test_a_router_that_holds_flows_and_told_of_none_is_named() -> None:
    assert unheard([event()], {"nat-a": 3, "nat-b": 0}) == []
    (gap,) = unheard([event()], {"nat-a": 3, "nat-b": 2})
    assert gap == NoEvents("nat-b", Unheard.SILENT, 2)
    assert sentence(gap) == "nat-b holds 2 flows and sent no event of any"


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    events = (event(), event(Change.UPDATE, 2, replied=True, assured=True))
    file = tmp_path / "conntrack.jsonl"
    file.write_text("".join(json.dumps(to_json(one)) + "\n" for one in events))
    assert read_flows(file) == events


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_ns", "1"),
        ("time_ns", None),
        ("change", "born"),
        ("original", ["10.0.0.2:4001"]),
        ("reply", ["10.0.0.2", "29.0.0.2:1"]),
        ("replied", None),
        ("more", 1),
    ],
)
def test_a_damaged_line_is_named_by_file_and_number(
    field: str, value: object, tmp_path: Path
) -> None:
    file = tmp_path / "conntrack.jsonl"
    lines = [to_json(event()), to_json(event()) | {field: value}]
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(CaptureError, match=r"conntrack\.jsonl, line 2: not a conntrack event"):
        read_flows(file)


class Scripted:
    """A socket that gives what it was given, an error where that is one."""

    def __init__(self, *script: bytes | int) -> None:
        self.script = list(script)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fileno(self) -> int:
        return 7

    def recv(self, _: int) -> bytes:
        if not self.script:
            raise BlockingIOError
        step = self.script.pop(0)
        if isinstance(step, int):
            raise OSError(step, "scripted")
        return step


def finished(path: Path, made: Scripted | OSError) -> list[Gap]:
    def opened(*_: object) -> Scripted:
        if isinstance(made, OSError):
            raise made
        return made

    with FlowRecorder(opened, ["nat-a"], path) as recorder:  # type: ignore[arg-type]
        return recorder.finish()


def test_what_was_heard_is_written(tmp_path: Path) -> None:
    file = tmp_path / "conntrack.jsonl"
    assert finished(file, Scripted(datagram(flags=CREATED))) == []
    assert [one.change for one in read_flows(file)] == [Change.NEW]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (
            Scripted(datagram(flags=CREATED), errno.ENOBUFS, datagram()),
            NoEvents("nat-a", Unheard.OVERFLOWED),
        ),
        (
            OSError(errno.EPROTONOSUPPORT, "Protocol not supported"),
            NoEvents("nat-a", Unheard.REFUSED, error="Protocol not supported"),
        ),
    ],
)
def test_events_that_were_missed_leave_no_file_and_a_gap(
    made: Scripted | OSError, why: Gap, tmp_path: Path
) -> None:
    file = tmp_path / "conntrack.jsonl"
    assert finished(file, made) == [why]
    assert not file.exists()


def test_more_events_than_memory_is_meant_for_are_said_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(flows, "_MOST", 2)
    (gap,) = finished(tmp_path / "conntrack.jsonl", Scripted(*[datagram(flags=CREATED)] * 3))
    assert gap == NoEvents("nat-a", Unheard.TOO_MANY, 2)


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (
            NoEvents("r", Unheard.OVERFLOWED),
            "conntrack events of r came faster than they were taken",
        ),
        (NoEvents("r", Unheard.TOO_MANY, 2), "conntrack events of r were more than 2"),
        (
            NoEvents("r", Unheard.REFUSED, error="no"),
            "conntrack events of r could not be heard: no",
        ),
        (NoCounters("no nft"), "the routers' counters: no nft"),
    ],
)
def test_each_gap_is_said_and_comes_back_from_its_file(gap: Gap, said: str) -> None:
    assert sentence(gap) == said
    assert gaps_from_json(json.loads(json.dumps(gaps_to_json([gap])))) == (gap,)
