"""The gap, the way and the new handshake, read off packets made for it."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from testbed.model.life import Fate, Transport
from testbed.model.packet import Endpoint, Packet
from testbed.studies.life.application import SIZE
from testbed.studies.life.seat import Seat, Wire
from testbed.studies.life.wire import Seen, read_life

RELAY, OTHER, OURS, NAT = (IPv4Address(f"29.0.0.{n}") for n in (1, 2, 3, 4))
SAID = bytes(range(250)) * 4
DIALER = Seat(
    frozenset({OURS}),
    (Wire("nat-a:lan", "lan-a", back=True), Wire("nat-c:lan", "lan-c", back=True)),
    frozenset({("nat-a:wan", True), ("nat-c:wan", True)}),
)
SECOND = 1_000_000_000
SYN, ACK = 0x02, 0x10


def packet(
    at: float,
    source: IPv4Address = OTHER,
    *,
    size: int = SIZE + 40,
    vantage: str = "nat-a:lan",
    flags: int = 0,
    payload: bytes | None = None,
) -> Packet:
    """One that goes to the dialer."""
    return Packet(
        int(at * 1000), vantage, int(at * SECOND), True, 0x0800, "tcp" if flags else "udp",
        Endpoint(source, 4001), Endpoint(OURS, 4001), 64, 0, flags, 0, 0, None, None, None,
        bytes(size) if payload is None else payload, size, b"",
    )  # fmt: skip


def echoes(start: float, stop: float, source: IPv4Address = OTHER, **more: str) -> list[Packet]:
    count = round((stop - start) / 0.05)
    return [packet(start + n * 0.05, source, **more) for n in range(count)]  # type: ignore[arg-type]


def read(packets: list[Packet], transport: Transport = Transport.QUIC) -> Seen:
    ordered = sorted(packets, key=lambda p: p.time_ns)
    return read_life(ordered, DIALER, RELAY, transport, 2 * SECOND, 10 * SECOND)


def test_an_unbroken_echo_survives_without_a_gap() -> None:
    seen = read(echoes(1, 10))
    assert seen.fate is Fate.SURVIVES
    assert seen.gap == pytest.approx(0.05)


def test_the_gap_is_from_the_last_echo_to_the_first_one_after() -> None:
    seen = read([*echoes(1, 2), packet(3, size=40), *echoes(5, 10)])
    assert seen.gap == pytest.approx(3.05)
    assert (seen.fate, seen.packets) == (Fate.SURVIVES, 1)
    assert seen.cited == (1950, 5000)


def test_a_gap_before_the_fault_is_not_the_faults() -> None:
    assert read([*echoes(0, 0.2), *echoes(1.5, 10)]).gap == pytest.approx(0.05)


def test_an_echo_that_ends_is_lost() -> None:
    seen = read(echoes(1, 4))
    assert seen.fate is Fate.LOST
    assert seen.gap == pytest.approx(6.05)


def test_no_echo_at_all_is_lost() -> None:
    assert read([]).fate is Fate.LOST


def test_an_echo_from_the_relay_in_the_end_is_relayed() -> None:
    assert read([*echoes(1, 2), *echoes(4, 10, RELAY)]).fate is Fate.RELAYED


def test_an_echo_that_was_relayed_for_a_while_is_another_connection() -> None:
    packets = [*echoes(1, 2), *echoes(4, 5, RELAY), *echoes(5, 10)]
    assert read(packets).fate is Fate.DIRECT


@pytest.mark.parametrize(
    ("transport", "opening"),
    [
        (Transport.TCP, packet(3, flags=SYN, size=0)),
        (Transport.QUIC, packet(3, payload=b"\xc3" + bytes(1199))),
    ],
)
def test_a_handshake_after_the_fault_is_another_connection(
    transport: Transport, opening: Packet
) -> None:
    assert read([*echoes(1, 2), opening, *echoes(4, 10)], transport).fate is Fate.DIRECT
    assert read([*echoes(1, 2), *echoes(4, 10)], transport).fate is Fate.SURVIVES


def test_it_is_told_who_was_connected_when_and_by_which_path() -> None:
    packets = [*echoes(1, 3), *echoes(5, 6, RELAY), *echoes(6, 10, vantage="nat-c:lan")]
    told = [(round(s.start, 2), round(s.end, 2), s.relayed, s.at) for s in read(packets).spells]
    assert told == [
        (-1.0, 0.95, False, "lan-a"),
        (3.0, 3.95, True, "lan-a"),
        (4.0, 7.95, False, "lan-c"),
    ]


def test_handshakes_with_the_relay_and_before_the_fault_are_not() -> None:
    with_relay = packet(3, RELAY, flags=SYN | 0, size=0)
    before = packet(1.5, flags=SYN, size=0)
    assert read([before, with_relay, *echoes(1, 10)], Transport.TCP).fate is Fate.SURVIVES


def test_the_dialer_is_followed_to_another_router() -> None:
    seen = read([*echoes(1, 2), *echoes(2.5, 10, vantage="nat-c:lan")])
    assert (seen.fate, round(seen.gap, 2)) == (Fate.SURVIVES, 0.55)


def test_an_echo_that_leaves_from_another_port_has_moved() -> None:
    def sent(at: float, port: int) -> Packet:
        one = packet(at, vantage="nat-a:wan")
        return replace(one, source=Endpoint(NAT, port), payload=SAID)

    asked = replace(packet(1.4), outgoing=False, source=Endpoint(OURS, 4001), payload=SAID)
    before, after, another = sent(1.5, 4001), sent(3, 4002), sent(3, 4001)
    assert read([*echoes(1, 10), asked, before, after]).moved
    assert not read([*echoes(1, 10), asked, before, another]).moved
    anybodys = replace(after, payload=SAID[::-1])
    assert read([*echoes(1, 10), asked, before, anybodys]).moved is False


def test_where_what_is_sent_on_leaves_no_more_it_is_not_known_whether_the_dialer_moved() -> None:
    """It roams into the other's home: its echo turns back at that NAT, or ends there.

    A dialer that sends no more is not excused: it is seen where it was before.
    """
    asked = replace(packet(1.4), outgoing=False, source=Endpoint(OURS, 4001), payload=SAID)
    before = replace(packet(1.5, vantage="nat-a:wan"), source=Endpoint(NAT, 4001), payload=SAID)
    on = replace(asked, time_ns=asked.time_ns + 3 * 10**9)
    assert read([asked, before, on]).moved is None
    assert read([asked, before]).moved is False


def test_what_is_not_of_an_echos_size_is_none() -> None:
    noise = [packet(2 + n / 10, size=size) for n, size in enumerate((30, 300, 1200) * 20)]
    assert read([*echoes(1, 2), *noise]).fate is Fate.LOST


def test_what_comes_back_after_the_dialer_gave_up_is_of_no_use() -> None:
    packets = sorted([*echoes(1, 2), *echoes(8, 10)], key=lambda p: p.time_ns)
    told = (packets, DIALER, RELAY, Transport.TCP, 2 * SECOND, 10 * SECOND)
    assert read_life(*told).fate is Fate.SURVIVES
    assert read_life(*told, given_up_ns=6 * SECOND).fate is Fate.LOST
