"""What the wire shows of an upgrade: one that is in order passes, each breach is found.

The captures are made by hand, with the plans of labs: a and b behind a NAT each, b behind none,
both behind one, and behind one each inside another.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from made_worlds import OTHER, WAY, WORLDS, World, world

from testbed.evidence.account import WireAccount
from testbed.model.breach import (
    BeforeRelayed,
    Breach,
    BreachKind,
    NoPayload,
    NoRelayFirst,
    NotClient,
    NotCrossed,
    NothingLeft,
    OwnInitial,
    PunchedEarly,
    RelayedUnseen,
    RelayKept,
    RelayUsed,
    RungClaimed,
    RungDiffers,
    StepMissing,
    StepsSwapped,
    StepUnseen,
    Tried,
    UpgradeUntold,
)
from testbed.model.contract import Connected, Event, How, Path, Step, StepName, Upgraded
from testbed.model.contract import Endpoint as Spoken
from testbed.model.deviation import Pattern
from testbed.model.outcome import Outcome, Rung
from testbed.model.packet import ACK, PSH, RST, SYN, Endpoint, Packet
from testbed.model.window import SHORTEST, Window
from testbed.verdict import handshake
from testbed.verdict.rung import check_rung, read_rung, rung_reading
from testbed.verdict.upgrade import LEFTOVER, check_relayed, check_upgrade, untold

MS = 1_000_000
EPOCH = 10**15  # what the capture's clock is ahead of the events'


@pytest.fixture(autouse=True, params=WORLDS)
def everywhere(request: pytest.FixtureRequest) -> None:
    """Every test of this file is one in each of these worlds."""
    Story.world = world(request.param)


HEADER = b"\x13/multistream/1.0.0\n\x07/noise\n"
NOISE = {1: b"\x00\x20" + b"e" * 32, 2: b"\x00\xd8" + b"s" * 216, 3: b"\x00\xb8" + b"c" * 184}


class Story:
    """Packets and events of one attempt, told in ms."""

    world: World

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.packets: list[Packet] = []
        self.events: list[tuple[str, Event]] = []
        self._payloads = 0
        self._seq = {"a": 1, "b": 1}
        self.direct_ids: list[tuple[str, int]] = []  # source, IP id

    def seen(
        self, at: float, vantage: str, out: bool, source: Endpoint, target: Endpoint,
        payload: bytes, flags: int = 0, seq: int = 0, ip_id: int = 0, ttl: int = 64,
    ) -> None:  # fmt: skip
        mac = b"" if out else self.world.macs[vantage]
        self.packets.append(
            Packet(
                number=len(self.packets) + 1, vantage=vantage, time_ns=EPOCH + int(at * MS),
                outgoing=out, ethertype=0x0800, protocol=self.protocol,  # type: ignore[arg-type]
                source=source, destination=target,
                ttl=ttl, ip_id=ip_id, tcp_flags=flags, tcp_seq=seq, tcp_ack=0, icmp_type=None,
                icmp_code=None, quoted=None, payload=payload, original_length=60,
                frame=mac.ljust(60, b"\0"),
            )
        )  # fmt: skip

    def travels(
        self, at: float, source: str, target: str, payload: bytes, flags: int = 0, seq: int = 0
    ) -> int:
        """One packet from host to host, at every place where it is seen; its IP id."""
        ip_id, ttl = len(self.packets) + 1, 64
        way = self.world.way(source, target)
        for step, (vantage, out, sender, to, later) in enumerate(way):
            ttl -= out and step > 0
            self.seen(
                at + later + step / 100, vantage, out, sender, to, payload, flags, seq, ip_id, ttl
            )
        return ip_id

    def relayed(self, at: float, source: str, size: int = 120) -> float:
        """A payload through the relay, which encrypts it anew; gives when it is there."""
        target = OTHER[source]
        self._payloads += 1
        into, out = (
            self._payloads.to_bytes(4, "big") * (size // 4) + tail for tail in (b"i", b"o")
        )
        self.travels(at, source, "server", into)
        self.travels(at + 2 * WAY + 1, "server", target, out)
        return at + 4 * WAY + 1.1

    def direct(self, at: float, source: str, payload: bytes, flags: int = 0) -> None:
        """From peer to peer."""
        target, seq = OTHER[source], self._seq[source]
        self._seq[source] += len(payload)
        flags = flags or (ACK | PSH if self.protocol == "tcp" else 0)
        ip_id = self.travels(at, source, target, payload, flags, seq)
        self.direct_ids.append((source, ip_id))

    def beyond(self, node: str) -> list[Packet]:
        """The sights of packets that went from ``node`` to the other, from its NAT on."""
        ids = {ip_id for source, ip_id in self.direct_ids if source == node}
        inside = self.world.inside(node)
        return [p for p in self.packets if p.ip_id in ids and p.vantage not in inside]

    def each_direct(self) -> list[tuple[str, Packet]]:
        """The sights of what went from peer to peer, with who sent it."""
        sources = {ip_id: source for source, ip_id in self.direct_ids}
        return [(sources[p.ip_id], p) for p in self.packets if p.ip_id in sources]

    def says(self, at: float, node: str, event: Event) -> None:
        self.events.append((node, event.model_copy(update={"at": int(at * MS)})))

    def step(self, at: float, node: str, name: StepName) -> None:
        self.says(at, node, Step(at=0, name=name, attempt=1, realtime=EPOCH + int(at * MS)))

    def message(self, at: float, source: str, word: str) -> float:
        """One message of DCUtR, with the steps that both sides tell of it."""
        self.step(at, source, StepName(f"{word}_sent"))
        there = self.relayed(at, source)
        self.step(there + 1, OTHER[source], StepName(f"{word}_received"))
        return there + 2

    @property
    def account(self) -> WireAccount:
        ordered = sorted(self.packets, key=lambda packet: packet.time_ns)
        return WireAccount(self.world.plan, ordered, tuple(self.events))

    def check(self) -> list[Breach]:
        return check_upgrade(self.account, "a", "b")


def said(end: Endpoint) -> Spoken:
    return Spoken(address=end.address, port=end.port)


def connected(story: Story) -> None:
    """The relayed connection: a's dial, b's answer."""
    spoken = said(story.world.told("server"))
    there = story.relayed(0, "a")
    for node, at in (("b", there + 1), ("a", story.relayed(there, "b") + 1)):
        local = said(story.world.here[node])
        event = Connected(at=0, local=local, remote=spoken, path=Path.RELAYED)
        story.says(at, node, event)


def handshaken(story: Story, at: float, client: str) -> None:
    """The first bytes of the direct connection."""
    server = OTHER[client]
    if story.protocol == "tcp":
        for side in ("a", "b"):
            story.direct(at, side, b"", SYN)
        for side in (server, client):
            story.direct(at + 50, side, HEADER)
        for number, side in ((1, client), (2, server), (3, client)):
            story.direct(at + 50 + number * 30, side, NOISE[number])
    else:
        story.direct(at, server, b"\xee" * 64)
        story.direct(at, client, initial(b"random--", b"client--"))
        story.direct(at + 50, server, initial(b"client--", b"server--"))


def initial(destination: bytes, source: bytes) -> bytes:
    head = b"\xc3\x00\x00\x00\x01\x08" + destination + b"\x08" + source
    return head + bytes(1200 - len(head))


def ended(story: Story, at: float, how: How) -> None:
    for node in ("a", "b"):
        local = said(story.world.here[node])
        remote = said(story.world.way(node, OTHER[node])[0][3])
        event = Upgraded(at=0, local=local, remote=remote, how=how, attempts=1)
        story.says(at, node, event)
        story.step(at + 20, node, StepName.RELAY_LEFT)
        story.relayed(at + 21, node, size=80)  # the last frames
        story.direct(at + 40, node, b"z" * 1200)


def punched(protocol: str = "tcp", client: str = "a") -> Story:
    story = Story(protocol)
    connected(story)
    at = story.message(300, "b", "connect")
    at = story.message(at, "a", "connect")
    at = story.message(at, "b", "sync")
    for node in ("a", "b"):
        story.step(at, node, StepName.PUNCHING)
    handshaken(story, at + 1, client)
    ended(story, at + 300, How.PUNCHED)
    return story


def by_its_own_dial(protocol: str = "tcp", client: str = "a") -> Story:
    """The dialer's own dial, which no signal of the listener's has asked for."""
    story = Story(protocol)
    connected(story)
    handshaken(story, 300, client)
    ended(story, 600, How.DIRECT)
    return story


def reversed_(protocol: str = "tcp", client: str = "b") -> Story:
    story = Story(protocol)
    connected(story)
    handshaken(story, 300, client)
    ended(story, 600, How.REVERSED)
    return story


BOTH = pytest.mark.parametrize("protocol", ["tcp", "udp"])


@BOTH
@pytest.mark.parametrize("tell", [punched, reversed_, by_its_own_dial])
def test_an_upgrade_in_order_breaks_nothing(tell: Callable[[str], Story], protocol: str) -> None:
    assert tell(protocol).check() == []


def test_whether_a_listener_punches_is_untold_where_it_answered_a_syn_at_that_moment() -> None:
    """Its kernel's SYN-ACK leaves when its own SYN was due, which could not leave any more."""
    story = punched("tcp")
    assert untold(story.account, "a", "b") == frozenset()
    syns = [packet for packet in story.packets if packet.tcp_flags & SYN and packet.outgoing]
    of_b = {packet.ip_id for packet in syns if packet.vantage.startswith("b:")}
    story.packets = [
        replace(packet, tcp_flags=SYN | ACK) if packet.ip_id in of_b else packet
        for packet in story.packets
    ]
    of_listener = Pattern(kind=BreachKind.NOT_CROSSED, role="b")
    assert untold(story.account, "a", "b") == frozenset({of_listener})
    assert not of_listener.overlaps(Pattern(kind=BreachKind.NOT_CROSSED, role="a"))
    assert untold(reversed_("tcp").account, "a", "b") == frozenset()


# Each of these must be caught.


def swapped(story: Story, one: tuple[str, StepName], other: tuple[str, StepName]) -> None:
    """The two steps change places in time."""
    found = {
        (node, event.name): index
        for index, (node, event) in enumerate(story.events)
        if isinstance(event, Step)
    }
    first, second = found[one], found[other]
    events = story.events
    late = {"at": events[second][1].at, "realtime": events[second][1].realtime}  # type: ignore[union-attr]
    early = {"at": events[first][1].at, "realtime": events[first][1].realtime}  # type: ignore[union-attr]
    events[first] = (one[0], events[first][1].model_copy(update=late))
    events[second] = (other[0], events[second][1].model_copy(update=early))


@BOTH
def test_steps_in_another_order_are_found(protocol: str) -> None:
    story = punched(protocol)
    swapped(story, ("b", StepName.CONNECT_RECEIVED), ("b", StepName.SYNC_SENT))
    swap = StepsSwapped("b", StepName.SYNC_SENT, "b", StepName.CONNECT_RECEIVED)
    assert swap in story.check()


def test_a_punch_before_the_sync_is_found() -> None:
    story = punched()
    swapped(story, ("a", StepName.SYNC_RECEIVED), ("a", StepName.PUNCHING))
    story.step(100, "a", StepName.PUNCHING)
    assert PunchedEarly("a", StepName.SYNC_RECEIVED) in story.check()


def test_a_missing_step_is_found() -> None:
    story = punched()
    story.events = [
        (node, event)
        for node, event in story.events
        if not (isinstance(event, Step) and event.name is StepName.SYNC_RECEIVED)
    ]
    assert StepMissing("a", StepName.SYNC_RECEIVED) in story.check()


@BOTH
def test_attempts_after_the_upgrade_say_nothing_of_it(protocol: str) -> None:
    story = punched(protocol)
    for at, name in enumerate((StepName.CONNECT_RECEIVED, StepName.CONNECT_SENT)):
        story.step(5000 + at, "a", name)
    story.direct(5010, "b", HEADER + NOISE[1] if protocol == "tcp" else initial(b"one-more", b"b"))
    assert story.check() == []


def test_a_step_that_no_packet_bears_out_is_found() -> None:
    story = punched()
    story.packets = [
        p for p in story.packets if not (p.node == "server" and p.time_ns < EPOCH + 340 * MS
                                         and p.time_ns > EPOCH + 300 * MS)
    ]  # fmt: skip
    assert StepUnseen("b", StepName.CONNECT_SENT, "server") in story.check()


@BOTH
def test_bytes_that_go_on_through_the_relay_are_found(protocol: str) -> None:
    story = punched(protocol)
    last = max(p.time_ns for p in story.packets) - EPOCH
    for _ in range(2):
        story.relayed(last / MS, "b", size=LEFTOVER)
    used = [one for one in story.check() if isinstance(one, RelayUsed)]
    assert [(one.node, one.other, one.relay, one.size > LEFTOVER) for one in used] == [
        ("b", "a", "server", True)
    ]


def test_a_relayed_connection_that_is_kept_is_found() -> None:
    story = punched()
    story.events = [
        (node, event)
        for node, event in story.events
        if not (node == "b" and isinstance(event, Step) and event.name is StepName.RELAY_LEFT)
    ]
    assert story.check() == [RelayKept("b")]


@BOTH
def test_a_punch_that_only_one_side_sends_is_found(protocol: str) -> None:
    story = punched(protocol)
    stopped = story.beyond("b")
    story.packets = [p for p in story.packets if p not in stopped]
    assert NothingLeft("b", "a", story.world.edge("b")) in story.check()


@BOTH
def test_a_packet_that_came_in_before_the_own_one_went_out_is_found(protocol: str) -> None:
    story = punched(protocol)
    late = story.beyond("b")
    story.packets = [replace(p, time_ns=p.time_ns + 45 * MS) if p in late else p
                     for p in story.packets]  # fmt: skip
    found = [one for one in story.check() if isinstance(one, NotCrossed)]
    if not story.world.own("b", "a"):  # no NAT of b's own, and so nothing that it must open
        assert found == []
        return
    (one,) = found
    assert (one.vantage, one.came.outgoing, one.went.outgoing) == (
        story.world.edge("b"), False, True,
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize(("late_ms", "on_time"), [(3, True), (30, False)])
def test_where_the_way_is_short_who_sends_when_it_is_due_has_crossed(
    protocol: str, late_ms: int, on_time: bool
) -> None:
    story = punched(protocol)
    late, quick = story.beyond("b"), [p for node, p in story.each_direct() if node == "a"]
    began = {p.ip_id: min(q.time_ns for q in quick if q.ip_id == p.ip_id) for p in quick}

    def moved(p: Packet) -> Packet:
        if p in late:
            return replace(p, time_ns=p.time_ns + late_ms * MS)
        if p in quick:
            start = began[p.ip_id]
            return replace(p, time_ns=start + (p.time_ns - start) // 1000)
        return p

    story.packets = [moved(p) for p in story.packets]
    found = [one for one in story.check() if isinstance(one, NotCrossed) and one.node == "b"]
    assert bool(found) == (not on_time and bool(story.world.own("b", "a")))


def test_a_refusal_of_the_reversal_is_no_early_packet() -> None:
    """A router that answers strangers itself (naive-linux) refuses b's dial; then they punch."""
    story = punched()
    start = next(e.realtime for _, e in story.events
                 if isinstance(e, Step) and e.name is StepName.PUNCHING) - EPOCH  # fmt: skip
    for after in (-0.05, 0.05):
        *_, (vantage, out, here, there, _) = story.world.way("a", "b")
        story.seen(start / MS + after, vantage, out, here, there, b"", flags=RST)
    assert story.check() == []


@BOTH
@pytest.mark.parametrize("tell", [punched, reversed_, by_its_own_dial])
def test_the_wrong_client_is_found(tell: Callable[..., Story], protocol: str) -> None:
    right = "b" if tell is reversed_ else "a"
    found = tell(protocol, client=OTHER[right]).check()
    assert any(
        (isinstance(one, NotClient) and one.node == right)
        or (isinstance(one, OwnInitial) and one.node == OTHER[right])
        for one in found
    )


def test_both_sides_as_quic_clients_are_found() -> None:
    story = punched("udp")
    start = next(e.realtime for _, e in story.events
                 if isinstance(e, Step) and e.name is StepName.PUNCHING)  # fmt: skip
    story.direct((start - EPOCH) / MS + 5, "b", initial(b"another-", b"server--"))
    assert [one.node for one in story.check() if isinstance(one, OwnInitial)] == ["b"]


@BOTH
def test_the_first_bytes_of_an_earlier_dial_that_failed_say_nothing_of_the_client(
    protocol: str,
) -> None:
    story = punched(protocol)
    story.direct(150, "b", HEADER + NOISE[1] if protocol == "tcp" else initial(b"reversal", b"b"))
    assert story.check() == []


def test_a_direct_payload_before_the_relayed_connection_is_found() -> None:
    story = punched()
    story.direct(5, "b", b"too early")
    early = [one for one in story.check() if isinstance(one, BeforeRelayed)]
    assert [one.node for one in early] == ["b", "a"]


def test_a_connection_that_was_never_relayed_is_found() -> None:
    story = punched()
    story.events = [
        (node, e.model_copy(update={"path": Path.DIRECT}) if isinstance(e, Connected) else e)
        for node, e in story.events
    ]
    assert story.check() == [NoRelayFirst()]


def test_an_upgrade_without_a_payload_is_found() -> None:
    story = punched()
    ids = {ip_id for _, ip_id in story.direct_ids}
    story.packets = [p for p in story.packets if not (p.ip_id in ids and p.payload)]
    assert NoPayload() in story.check()


def test_a_relayed_connection_that_no_packet_bears_out_is_found() -> None:
    story = punched()
    story.packets = [
        p for p in story.packets if not (p.node == "server" and p.time_ns < EPOCH + 100 * MS)
    ]
    found = [one for one in story.check() if isinstance(one, RelayedUnseen)]
    assert [(one.node, one.relay) for one in found] == [("a", "server"), ("b", "server")]


def test_with_upgrades_off_a_single_packet_from_peer_to_peer_is_found() -> None:
    story = Story("tcp")
    connected(story)
    assert check_relayed(story.account, "a", "b") == []
    story.direct(200, "b", b"", SYN)
    (sent,) = (p for p in story.packets if p.vantage == "b:eth0" and p.tcp_flags == SYN)
    assert check_relayed(story.account, "a", "b") == [Tried(sent.sight)]


# The handshake's own reading.


def packet(payload: bytes, seq: int = 1) -> Packet:
    story = Story("tcp")
    vantage, out, here, there, _ = story.world.way("a", "b")[0]
    story.seen(0, vantage, out, here, there, payload, seq=seq)
    return story.packets[0]


def test_the_first_noise_message_is_found_behind_the_negotiation_however_it_is_cut() -> None:
    whole = HEADER + NOISE[1]
    for cut in (1, 20, 27, 29):
        pieces = [packet(whole[:cut], 1), packet(whole[:cut], 1), packet(whole[cut:], 1 + cut)]
        assert handshake.first_noise_length(pieces) == handshake.NOISE_FIRST
    assert handshake.first_noise_length([packet(HEADER)]) is None
    assert handshake.first_noise_length([]) is None


@pytest.mark.parametrize("length", range(24))
def test_a_truncated_initial_is_none(length: int) -> None:
    whole = initial(b"12345678", b"abcdefgh")
    found = handshake.quic_initials([packet(whole[:length])])
    assert found == [] if length < 23 else found[0].source == b"abcdefgh"


# Which rung, read off the same packets.


def echoed(story: Story, at: float) -> WireAccount:
    """The account of ``story`` with an echo at ``at`` over the direct connection."""
    for later, side in ((0, "a"), (30, "b")):
        story.direct(at + later, side, side.encode() * 1200)
    window = Window(EPOCH + int(at * MS) - MS, EPOCH + int((at + 100) * MS), 1200)
    return replace(story.account, window=window, start_ns=EPOCH)


def dialed(protocol: str, client: str) -> Story:
    """One side dials, and the other only answers."""
    story, server = Story(protocol), OTHER[client]
    if protocol == "tcp":
        story.direct(10, client, b"", SYN)
        story.direct(40, server, b"", SYN | ACK)
        for number, side in ((1, client), (2, server), (3, client)):
            story.direct(40 + 30 * number, side, (HEADER if number < 3 else b"") + NOISE[number])
    else:
        story.direct(10, client, initial(b"random--", b"client--"))
        story.direct(40, server, initial(b"client--", b"server--"))
    return story


@BOTH
@pytest.mark.parametrize(("client", "rung"), [("a", Rung.DIRECT), ("b", Rung.REVERSED)])
def test_who_was_the_client_tells_the_rung(protocol: str, client: str, rung: Rung) -> None:
    account = echoed(dialed(protocol, client), 200)
    assert read_rung(account, ("a", "b"), Outcome.DIRECT) is rung


@BOTH
def test_another_rung_than_was_predicted_or_is_claimed_is_found(protocol: str) -> None:
    account = echoed(dialed(protocol, "a"), 200)
    measured = read_rung(account, ("a", "b"), Outcome.DIRECT)
    found = rung_reading((), ("a", "b"), (Rung.PUNCHED, measured), EPOCH)
    differs = RungDiffers(Rung.PUNCHED, Rung.DIRECT)
    assert check_rung(found, (), "a") == [differs, RungClaimed("a", None, Rung.DIRECT)]


@BOTH
def test_a_dial_that_the_listener_helped_in_was_punched(protocol: str) -> None:
    story = dialed(protocol, "a")
    story.direct(
        5, "b", b"" if protocol == "tcp" else b"\xee" * 64, SYN if protocol == "tcp" else 0
    )
    account = echoed(story, 200)
    assert read_rung(account, ("a", "b"), Outcome.DIRECT) is Rung.PUNCHED


@BOTH
def test_what_the_listener_sends_elsewhere_or_later_has_not_helped(protocol: str) -> None:
    story = dialed(protocol, "a")
    story.travels(2, "b", "server", b"q")
    story.direct(150, "b", b"", SYN) if protocol == "tcp" else story.direct(150, "b", b"later")
    account = echoed(story, 200)
    assert read_rung(account, ("a", "b"), Outcome.DIRECT) is Rung.DIRECT


def test_a_dial_that_began_when_the_listener_had_heard_of_it_by_the_relay_was_punched() -> None:
    story = Story("tcp")
    story.travels(-40, "server", "b", b"c" * SHORTEST)  # there at -20, before the start
    assert read_rung(echoed(_later(story, 10), 200), ("a", "b"), Outcome.DIRECT) is Rung.DIRECT
    story = Story("tcp")
    story.travels(1, "server", "b", b"c" * SHORTEST)  # there at 21, before a's dial at 30
    assert read_rung(echoed(_later(story, 20), 250), ("a", "b"), Outcome.DIRECT) is Rung.PUNCHED


def _later(story: Story, by: float) -> Story:
    """``story``, and a's dial some time after."""
    dial = dialed("tcp", "a")
    for packet in dial.packets:
        ip_id, number = packet.ip_id + 1000, packet.number + 1000
        time_ns = packet.time_ns + int(by * MS)
        story.packets.append(replace(packet, ip_id=ip_id, number=number, time_ns=time_ns))
    story._seq = dial._seq
    return story


@BOTH
def test_without_an_echo_or_a_start_there_is_no_rung(protocol: str) -> None:
    account = echoed(dialed(protocol, "a"), 200)
    ends = ("a", "b")
    assert read_rung(account, ends, Outcome.RELAYED) is Rung.RELAYED
    assert read_rung(account, ends, Outcome.NONE) is None
    assert read_rung(replace(account, window=None), ends, Outcome.DIRECT) is None
    assert read_rung(replace(account, start_ns=None), ends, Outcome.DIRECT) is None
    elsewhere = Window(EPOCH + 5000 * MS, EPOCH + 6000 * MS, 1200)
    assert read_rung(replace(account, window=elsewhere), ends, Outcome.DIRECT) is None


# What each side must say, and what each leg must show.


@pytest.mark.parametrize("silent", ["a", "b"])
def test_an_upgrade_that_one_side_does_not_tell_of_is_found(silent: str) -> None:
    story = punched()
    story.events = [
        (node, event)
        for node, event in story.events
        if not (node == silent and isinstance(event, Upgraded))
    ]
    assert story.check() == [UpgradeUntold()]


@pytest.mark.parametrize("word", [0, 1])  # SYNC comes within `SLACK_NS` of CONNECT here
def test_each_connect_must_be_seen_to_pass_the_relay(word: int) -> None:
    story = punched()
    sent = [
        (node, event)
        for node, event in story.events
        if isinstance(event, Step) and event.name.value.endswith("_sent")
    ]
    node, step = sorted(sent, key=lambda one: one[1].realtime)[word]
    story.packets = [
        p
        for p in story.packets
        if not (p.node == "server" and 0 <= p.time_ns - step.realtime < 40 * MS)
    ]
    assert StepUnseen(node, step.name, "server") in story.check()


def test_what_the_relay_carried_until_both_had_left_it_is_no_leftover() -> None:
    story = punched()
    left = max(
        event.realtime
        for _, event in story.events
        if isinstance(event, Step) and event.name is StepName.RELAY_LEFT
    )
    story.relayed((left - EPOCH) / MS, "b", size=4 * LEFTOVER)  # sent at that very moment
    assert not [one for one in story.check() if isinstance(one, RelayUsed)]
    story.relayed((left - EPOCH) / MS + 0.5, "b", size=4 * LEFTOVER)
    assert [one.node for one in story.check() if isinstance(one, RelayUsed)] == ["b"]
