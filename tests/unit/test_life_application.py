"""The application of a life, with peers that are made for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.model.contract import (
    Command,
    Echo,
    Echoed,
    Event,
    Failed,
    FailureClass,
    Lost,
    Path,
)
from testbed.stacks.client import Arrival
from testbed.studies.life import application
from testbed.studies.life.application import SIZE, Application

pytestmark = pytest.mark.usefixtures("clock")


class Clock:
    """Time that goes by only where somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Peer:
    """Answers each echo at once, by ``answer``; what it says arrives with the next wait."""

    def __init__(self, answer: Callable[[Echo], Iterator[Event]]) -> None:
        self.arrivals: list[Arrival] = []
        self.asked: list[int] = []
        self.pending: list[Event] = []
        self._answer = answer

    def send(self, command: Command) -> None:
        assert isinstance(command, Echo)
        self.asked.append(command.bytes)
        self.pending += self._answer(command)

    def take(self, _kinds: Any) -> Event | None:
        failed = [one.event for one in self.arrivals if isinstance(one.event, Failed)]
        return failed[0] if failed else None


def returned(command: Echo) -> Iterator[Event]:
    yield Echoed(at=0, bytes=command.bytes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    def hear(clients: tuple[Peer, ...], _kinds: Any, deadline: float) -> bool:
        arrived = [Arrival(event, 0) for event in clients[0].pending]
        clients[0].arrivals += arrived
        clients[0].pending = []
        if not arrived:
            clock.now = max(clock.now, min(deadline, clock.now + 0.01))
        return bool(arrived)

    monkeypatch.setattr(application, "time", clock)
    monkeypatch.setattr(application, "hear", hear)
    return clock


def application_of(peer: Peer, keepalive: float | None = None) -> Application:
    return Application(peer, Peer(returned), keepalive)  # type: ignore[arg-type]


def test_an_echo_is_asked_for_every_tick() -> None:
    peer = Peer(returned)
    application_of(peer).go_on(1.0)
    assert set(peer.asked) == {SIZE}
    assert 19 <= len(peer.asked) <= 21


def test_there_is_one_echo_at_a_time() -> None:
    peer = Peer(lambda _: iter(()))
    application_of(peer).go_on(1.0)
    assert peer.asked == [SIZE]


def test_a_silence_has_keepalives_alone_and_only_where_they_are_the_applications() -> None:
    peer, mute = Peer(returned), Peer(returned)
    application_of(peer, keepalive=1.0).be_silent(3.5)
    assert peer.asked == [1, 1, 1]
    application_of(mute).be_silent(3.5)
    assert mute.asked == []


def test_echoes_are_steady_while_the_connection_is_direct() -> None:
    peer = Peer(returned)
    one = application_of(peer)
    assert one.until_steady(0.5, 2.0)
    peer.pending.append(Lost(at=0, path=Path.DIRECT, reason=""))
    assert not one.until_steady(0.5, 2.0)


def test_what_comes_back_in_part_is_no_echo() -> None:
    peer = Peer(lambda _: iter((Echoed(at=0, bytes=0),)))
    assert not application_of(peer).until_steady(0.5, 2.0)


def test_a_peer_that_failed_is_asked_no_more() -> None:
    failed = Failed(at=0, failure=FailureClass.LOST, reason="gone")
    peer = Peer(lambda _: iter((failed,)))
    one = application_of(peer)
    one.go_on(1.0)
    assert one.ended
    assert peer.asked == [SIZE]
