"""The dialer alone is told a nonce, when both are connected; whoever cannot take it is noted."""

import json
import os
import secrets
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from test_talks import Mute

from testbed.model.breach import NonceUnheard
from testbed.model.contract import Ability, Echoed, Event, Heard, Offer, Offered
from testbed.model.version import Foreknown
from testbed.model.window import Window
from testbed.stacks.client import Arrival, PeerClient
from testbed.stacks.order import State
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch import attempt
from testbed.studies.punch.attempt import _Attempting
from testbed.studies.punch.mechanism import USUAL
from testbed.studies.punch.mechanisms import MECHANISMS
from testbed.studies.punch.talks import Talk, converse
from testbed.words import sentence

NONCE = "0f" * 16


class Pair:
    """A dialer and a listener that are connected."""

    def __init__(self) -> None:
        self.processes = [Mute(), Mute()]
        self.clients = [
            PeerClient(process, name)
            for process, name in zip(self.processes, ("a", "b"), strict=True)
        ]
        for client in self.clients:
            client._state = State.CONNECTED

    def accepting(self, *names: str) -> None:
        for client in self.clients:
            accepts = (Ability.NONCE,) if client.name in names else ()
            told = Offered(at=1, offer=Offer(addresses=(), ice=None), accepts=accepts)
            client.arrivals.append(Arrival(told, 1))
            client._taken = 1

    def echoes(self, *, clear: bool, heard: str | None = None) -> _Attempting:
        """What became of an echo after which the listener says what it ``heard``."""
        said: list[Event | None] = [
            Echoed(at=2, bytes=attempt.ECHO_BYTES),
            None if heard is None else Heard(at=2, nonce=heard),
        ]
        for process, event in zip(self.processes, said, strict=True):
            if event is not None:
                process.say(event)
        task: Any = SimpleNamespace(deadlines=USUAL, clear=clear)
        found = _Attempting(task, self.clients, None)

        def talk() -> Talk[bool]:
            yield from found._echo(self.clients[0])
            return True

        (ended,) = converse([talk()])
        assert ended.result is True
        return found

    def told(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(os.read(self.processes[0]._in, 4096))
        return line


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(secrets, "token_hex", lambda _: NONCE)
    monkeypatch.setattr(attempt, "HEARING", 0.02)
    made = Pair()
    yield made
    for process in made.processes:
        process.close()


def window(found: _Attempting) -> Window:
    assert found.window is not None
    return found.window


def test_an_echo_in_the_clear_is_known_by_its_nonce_on_the_wire(pair: Pair) -> None:
    pair.accepting("a")
    found = pair.echoes(clear=True)
    assert pair.told() == {"command": "echo", "bytes": attempt.MARKED_BYTES, "nonce": NONCE}
    assert (window(found).nonce, found.foreknown, found.breaches) == (NONCE, (), ())
    assert window(found).size == attempt.MARKED_BYTES


@pytest.mark.parametrize("clear", [True, False])
def test_a_dialer_that_accepts_none_is_told_none_and_noted(pair: Pair, clear: bool) -> None:
    pair.accepting("b")
    found = pair.echoes(clear=clear)
    told = pair.told()
    assert "nonce" not in told
    assert told["bytes"] == window(found).size == attempt.ECHO_BYTES, "less would prove less"
    assert (window(found).nonce, found.foreknown, found.breaches) == ("", ("a",), ())


@pytest.mark.parametrize(
    ("heard", "breaches"),
    [
        (NONCE, ()),
        (NONCE[::-1], (NonceUnheard("b", heard=True),)),
        (None, (NonceUnheard("b", heard=False),)),
    ],
)
def test_the_listener_of_an_encrypted_stream_has_to_have_heard_it(
    pair: Pair, heard: str | None, breaches: tuple[NonceUnheard, ...]
) -> None:
    pair.accepting("a", "b")
    found = pair.echoes(clear=False, heard=heard)
    assert pair.told()["nonce"] == NONCE
    assert (window(found).nonce, found.foreknown, found.breaches) == ("", (), breaches)


def test_a_listener_that_accepts_none_need_not_say_it_and_is_noted(pair: Pair) -> None:
    pair.accepting("a")
    found = pair.echoes(clear=False)
    assert (found.foreknown, found.breaches) == (("b",), ())
    assert "b's peer accepts no nonce" in sentence(Foreknown("b"))


def test_streams_are_encrypted_where_libp2p_is_spoken_and_nowhere_else() -> None:
    hidden = {name for name, one in MECHANISMS.items() if not one.clear}
    assert hidden == {name for name, one in MECHANISMS.items() if one.offers == "multiaddrs"}
    assert {one.mechanism for one in ADAPTERS.values()} <= set(MECHANISMS)
