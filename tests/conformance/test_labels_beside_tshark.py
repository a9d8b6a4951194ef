"""Labels beside Wireshark's reading of the same captures, field by field."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from trying import ran

from testbed.capture.reader import read
from testbed.evidence.labels import label, labels
from testbed.evidence.stitch import stitch
from testbed.model.contract import Event
from testbed.model.contract_lines import decode_event
from testbed.model.journey import Journey, Label
from testbed.model.packet import Endpoint, Packet
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.studies.punch.cell import Cell

CATALOGUE = catalogue()
VANTAGES = ("a:eth0", "server:eth0", "nat-b:wan")
SENDERS = ("a:eth0", "b:eth0")
TIMEOUT = 60  # seconds for one run of tshark

STUN = ("stun.type.method", "stun.type.class", "stun.id", "stun.att.ipv4", "stun.att.port",
        "stun.att.error.class", "stun.att.error", "stun.att.username", "stun.channel",
        "stun.att.channelnum")  # fmt: skip
QUIC = ("quic.long.packet_type", "quic.version", "quic.dcid", "quic.scid", "quic.header_form")
TCP = ("tcp.flags",)
REPEATED = ("tcp.analysis.retransmission", "tcp.analysis.fast_retransmission",
            "tcp.analysis.spurious_retransmission")  # fmt: skip
ALL = (*STUN, *QUIC, *TCP, *REPEATED)

CELLS = (
    Cell("ice", ("symmetric", "port-restricted")),
    Cell("ice", ("full-cone", "port-restricted")),
    Cell("punch-udp", ("naive-linux", "naive-linux")),
    Cell("punch-tcp", ("port-restricted", "port-restricted")),
    Cell("punch-tcp", ("symmetric", "port-restricted")),
    Cell("punch-tcp", ("naive-linux", "naive-linux"), skew_ms=120.0),
    Cell("traversal-tcp", ("port-restricted", "port-restricted")),
    Cell("traversal-quic", ("port-restricted", "port-restricted")),
    Cell("traversal-quic", ("symmetric", "port-restricted")),
)


@dataclass(frozen=True)
class Run:
    """One cell's capture, with the label of every packet's journey."""

    cell: Cell
    path: Path
    packets: Sequence[Packet]
    journeys: Sequence[Journey]
    labels: Mapping[int, Label]
    first: Mapping[int, int]  # every packet -> the first of its journey
    tables: dict[str, list[list[list[str]]]] = field(default_factory=dict)  # by vantage

    def said(self, packet: Packet) -> Label:
        """In context; what is no IPv4 has no journey and is read alone."""
        first = self.first.get(packet.number)
        return label(packet) if first is None else self.labels[first]

    def beside(
        self, vantage: str, fields: Sequence[str], home: Path
    ) -> Iterator[tuple[Packet, list[list[str]]]]:
        """The packets of one vantage, each with Wireshark's fields.

        Without ICMP: Wireshark's reading goes on within the packet that an error quotes.
        """
        packets = [packet for packet in self.packets if packet.vantage == vantage]
        if vantage not in self.tables:  # tshark takes longer to start than to read
            self.tables[vantage] = table(self.path, vantage, home)
        columns = [ALL.index(name) for name in fields]
        for packet, row in zip(packets, self.tables[vantage], strict=True):
            if packet.protocol != "icmp":
                yield packet, [row[column] for column in columns]


@dataclass
class Directions:
    """Values in order, by direction and name: a message may span several segments."""

    found: dict[tuple[Endpoint, Endpoint, str], list[str]] = field(default_factory=dict)

    def add(self, packet: Packet, name: str, values: Iterable[str]) -> None:
        for value in values:
            key = (packet.source, packet.destination, name)
            self.found.setdefault(key, []).append(value)


@pytest.fixture(scope="module", params=CELLS, ids=lambda c: f"{c.peer}-{'-'.join(c.profiles)}")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    cell: Cell = request.param
    folder = tmp_path_factory.mktemp("cell")
    ran(cell, folder)
    path = folder / "capture.pcapng"
    packets = read(path)
    journeys = stitch(packets, plan(cell.build(), CATALOGUE))
    first = {n: journey.first.number for journey in journeys for n in journey.packets}
    events = told(folder / "events.jsonl")
    return Run(cell, path, packets, journeys, labels(journeys, events), first)


def told(path: Path) -> list[tuple[str, Event]]:
    """What the peers said, as the cell's folder keeps it."""
    lines = map(json.loads, path.read_text().splitlines())
    return [(line.pop("peer"), decode_event(json.dumps(line).encode())) for line in lines]


def tshark(*arguments: str, home: Path) -> str:
    """What it prints; the user's own preferences stay out of it."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed: the labels were compared with nothing")
    done = subprocess.run(
        ["tshark", *arguments],
        env=os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(path: Path, vantage: str, home: Path) -> list[list[list[str]]]:
    """A row a packet of one vantage, in order; of each of `ALL` fields all that it has.

    One vantage at a time: a packet that is seen twice counts as a retransmission.
    """
    part = home / "part.pcapng"
    chosen = f'frame.interface_name == "{vantage}"'
    tshark("-r", str(path), "-Y", chosen, "-w", str(part), home=home)
    named = [word for name in ALL for word in ("-e", name)]
    ports = [f"-dtcp.port=={port},stun" for port in (443, 3478)]
    text = tshark("-r", str(part), *ports, "-Tfields", "-Eoccurrence=a", *named, home=home)
    return [[cell.split(",") if cell else [] for cell in row.split("\t")]
            for row in text.splitlines()]  # fmt: skip


METHODS = {0x1: "Binding", 0x3: "Allocate", 0x4: "Refresh", 0x6: "Send", 0x7: "Data",
           0x8: "CreatePermission", 0x9: "ChannelBind"}  # fmt: skip
CLASSES = {0x000: "request", 0x001: "indication", 0x010: "success", 0x011: "error"}
ADDRESSES = {"MAPPED-ADDRESS", "XOR-MAPPED-ADDRESS", "XOR-PEER-ADDRESS", "XOR-RELAYED-ADDRESS",
             "RESPONSE-ORIGIN", "OTHER-ADDRESS"}  # fmt: skip
LONG_HEADERS = {0: "Initial", 1: "0-RTT", 2: "Handshake", 3: "Retry"}
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")


def values(said: Label, *names: str) -> list[str]:
    """Of these fields, in order."""
    return [value for key, value in said.fields if key in names]


def numbers(cells: Sequence[str]) -> list[int]:
    return [int(cell, 0) for cell in cells]


def test_stun_is_read_as_wireshark_reads_it(run: Run, tmp_path: Path) -> None:
    for vantage in VANTAGES:
        theirs, ours = Directions(), Directions()
        for packet, row in run.beside(vantage, STUN, tmp_path):
            method, kind, ids, address, port, hundreds, rest, user, channel, bound = row
            theirs.add(packet, "method", (METHODS[n] for n in numbers(method)))
            theirs.add(packet, "class", (CLASSES[n] for n in numbers(kind)))
            theirs.add(packet, "transaction", ids)
            theirs.add(packet, "address", map(":".join, zip(address, port, strict=True)))
            errors = zip(numbers(hundreds), numbers(rest), strict=True)
            theirs.add(packet, "error", (str(100 * a + b) for a, b in errors))
            theirs.add(packet, "user", user)
            theirs.add(packet, "channel", (f"0x{n:04x}" for n in numbers([*channel, *bound])))
            said = run.said(packet)
            for name in ("method", "class", "transaction"):
                ours.add(packet, name, values(said, name))
            ours.add(packet, "address", values(said, *ADDRESSES))
            ours.add(packet, "error", (text[:3] for text in values(said, "ERROR-CODE")))
            ours.add(packet, "user", values(said, "USERNAME"))
            ours.add(packet, "channel", values(said, "CHANNEL-NUMBER"))
        assert ours.found == theirs.found, vantage
        assert theirs.found or not run.cell.peer.startswith(("ice", "punch"))


def test_quic_is_read_as_wireshark_reads_it(run: Run, tmp_path: Path) -> None:
    seen = set()
    for vantage in VANTAGES:
        for packet, row in run.beside(vantage, QUIC, tmp_path):
            kind, version, destination, source, form = row
            said = run.said(packet)
            if said.text.startswith("punch datagram"):
                # Wireshark takes one in four for a 1-RTT packet: the flow is QUIC's later on.
                assert (len(packet.payload), said.field("told by")) == (64, "b's punching")
                continue
            longs = len(kind)
            packets = [name for name in values(said, "packet") if name != "1-RTT"]
            assert packets == [LONG_HEADERS[n] for n in numbers(kind)], packet
            assert values(said, "version") == [str(n) for n in numbers(version)], packet
            assert values(said, "DCID")[:longs] == destination[:longs], packet
            assert values(said, "SCID") == source, packet
            assert ("1-RTT" in said.text) == ("0" in form), packet
            seen |= {*packets, *(["1-RTT"] if "1-RTT" in said.text else [])}
    expected = {"Initial", "Handshake", "1-RTT"} if run.cell.peer == "traversal-quic" else set()
    assert seen == expected


def test_tcp_flags_are_read_as_wireshark_reads_them(run: Run, tmp_path: Path) -> None:
    seen = 0
    for vantage in VANTAGES:
        for packet, (flags,) in run.beside(vantage, TCP, tmp_path):
            names = [n for bit, n in enumerate(FLAGS) if flags and int(flags[0], 0) >> bit & 1]
            assert values(run.said(packet), "flags") == ([" ".join(names)] if names else []), packet
            seen += bool(names)
    assert seen or run.cell.peer in ("punch-udp", "traversal-quic")


def test_retransmissions_are_those_that_wireshark_finds(run: Run, tmp_path: Path) -> None:
    """At the sender itself.  A simultaneous open's SYN-ACK is one to Wireshark, but not to us."""
    for vantage in SENDERS:
        theirs, ours = set(), set()
        for packet, row in run.beside(vantage, REPEATED, tmp_path):
            said = run.said(packet)
            if packet.protocol != "tcp" or not packet.outgoing or said.field("opened by"):
                continue
            if any(row):
                theirs.add(packet.number)
            if said.field("repeats"):
                ours.add(packet.number)
        assert ours == theirs, vantage


def test_every_packet_has_a_label_alone_and_in_context(run: Run) -> None:
    for packet in run.packets:
        assert label(packet).text
    assert set(run.labels) == {journey.first.number for journey in run.journeys}


# What each of these cells is known to have in it, by construction.
SHOWN = {
    "ice": ("turn", "Allocate success: relayed at "),
    "punch-udp": ("punch", "probe 0"),
    "punch-tcp": ("tcp", "SYN"),
    "traversal-tcp": ("noise", "Noise XX message 3"),
    "traversal-quic": ("punch", "punch datagram"),
}


def test_what_must_be_there_is_named(run: Run) -> None:
    protocol, text = SHOWN[run.cell.peer]
    assert any(s.protocol == protocol and s.text.startswith(text) for s in run.labels.values())
