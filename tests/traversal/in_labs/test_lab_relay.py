"""The relay's limits, between namespaces with two homes and 20 ms one way."""

import pytest

from .lab import world

BOTH = pytest.mark.parametrize("transport", ["tcp", "udp"])
pytestmark = pytest.mark.timeout(120)
OFF = {"enabled": False}


@BOTH
def test_a_circuit_lives_as_long_as_the_relay_says(transport: str) -> None:
    with world("eim-apdf", "eim-apdf", transport, upgrade=OFF, relay={"duration": 2}) as w:
        w.relayed()
        opened = w.a.wait_event(event="ConnectionOpened", relayed=True)
        closed = w.a.wait_event(event="ConnectionClosed", relayed=True)
        # The relay starts the clock when it answers; the handshake above it takes some 0.2 s.
        assert 1.6 < closed["at"] - opened["at"] < 2.1


@BOTH
def test_a_circuit_is_reset_when_its_bytes_are_used_up(transport: str) -> None:
    with world("eim-apdf", "eim-apdf", transport, upgrade=OFF, relay={"data": 50_000}) as w:
        w.relayed()
        assert w.a.ask("echo", peer=w.b.peer, bytes=20_000)
        assert "error" in w.a.ask_raw("echo", peer=w.b.peer, bytes=60_000)
        w.a.wait_event(event="ConnectionClosed", relayed=True)
        w.b.wait_event(event="ConnectionClosed", relayed=True)
        assert w.b.ask("connections")  # the relay itself is still there


@BOTH
def test_a_reservation_is_refreshed_in_time_and_ends_with_its_relay(transport: str) -> None:
    with world("eim-apdf", None, transport, upgrade=OFF, relay={"reservation_ttl": 4}) as w:
        w.a.ask("reserve", addr=w.relay.address)
        first = w.a.wait_event(event="Reserved", refreshed=False)
        again = w.a.wait_event(event="Reserved", refreshed=True)
        assert first["expire"] < again["expire"]
        assert again["at"] < first["expire"]
        w.relay.kill()
        w.a.wait_event(60, event="ReservationLost")
        assert not [x for x in w.a.ask("addresses")["advertised"] if "p2p-circuit" in x]


@BOTH
def test_a_relay_that_serves_no_more_of_an_ip_refuses(transport: str) -> None:
    with world("eim-apdf", "eim-apdf", transport, relay={"reservations_per_ip": 0}) as w:
        answer = w.a.ask_raw("reserve", addr=w.relay.address)
        assert "RESERVATION_REFUSED (200)" in answer["error"]
