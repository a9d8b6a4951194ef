"""The harness's side of the contract, against peers that keep it and peers that do not."""
# ruff: noqa: ARG002 - stubs of `Stack` need not use what they are given

import asyncio
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from testbed.errors import ContractError, PeerError, StarvedError
from testbed.lab import kernel
from testbed.lab.isolation.confine import Place
from testbed.lab.process import spawn
from testbed.lab.waits import ProcessorTime
from testbed.model.contract import (
    Accounted,
    Close,
    Closed,
    Command,
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    Failed,
    FailureClass,
    Listening,
    Mode,
    Observed,
    Offer,
    Offered,
    Options,
    Path,
    Role,
    Transport,
)
from testbed.model.contract_lines import decode_command, encode
from testbed.stacks import client as client_module
from testbed.stacks.client import PeerClient, wait_all, wait_any
from testbed.stacks.session import Emit, PeerFailure, now, serve

HERE = Endpoint.of(("10.0.0.2", 4001))
OFFER = Offer(addresses=(HERE,), ice=None)
CONFIGURE = Configure(
    version=2,
    role=Role.DIALER,
    transport=Transport.UDP,
    local_address=HERE.address,
    port=4001,
    stun=None,
    turn=None,
    relays=(),
    observers=(),
    session="00" * 16,
    seed=1,
    options=Options(mode=Mode.PUNCH, relay_only=False),
)
Start = Callable[[Callable[[], int]], PeerClient]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a function as the peer ``stub`` in a fork."""
    with ExitStack() as stack:

        def started(entry: Callable[[], int]) -> PeerClient:
            netns = kernel.current_netns()
            stack.callback(os.close, netns)
            process = spawn(entry, Place("stub", netns, None))
            stack.callback(process.close)
            return PeerClient(process, "stub")

        yield started


def soon(seconds: float = 2.0) -> float:
    return time.monotonic() + seconds


def hear() -> Command:
    return decode_command(sys.stdin.buffer.readline())


def say(event: Event) -> None:
    os.write(1, encode(event))


class Honest:
    """A stack that does what it is asked for, without a network."""

    async def gather(self, configure: Configure, emit: Emit) -> Offer:
        emit(Listening(at=now(), local=HERE))
        emit(Observed(at=now(), address=HERE, server=HERE))
        return OFFER

    async def dial(self, dial: Dial) -> Event:
        return Connected(at=now(), local=HERE, remote=HERE, path=Path.DIRECT)

    async def echo(self, count: int, nonce: bytes) -> int:
        return count

    async def close(self) -> None:
        pass


class Failing(Honest):
    async def gather(self, configure: Configure, emit: Emit) -> Offer:
        raise PeerFailure(FailureClass.GATHERING, "no answer")


class Crashing(Honest):
    async def dial(self, dial: Dial) -> Event:
        raise ZeroDivisionError("a bug in the stack")


def test_an_honest_peer_is_driven_from_configure_to_exit(start: Start) -> None:
    client = start(lambda: serve(Honest))
    client.send(CONFIGURE)
    assert client.wait((Offered,), soon()) == client.events[2]
    client.send(Dial(remote=OFFER, start_at=0))
    assert isinstance(client.wait((Connected, Failed), soon()), Connected)
    assert client.close(soon()) == 0
    assert [type(event).__name__ for event in client.events] == [
        *("Listening", "Observed", "Offered", "Connected", "Closed")
    ]
    for arrival in client.arrivals:
        assert arrival.event.at <= arrival.arrived


def test_events_before_the_one_waited_for_are_passed_over_and_kept(start: Start) -> None:
    client = start(lambda: serve(Honest))
    client.send(CONFIGURE)
    client.wait((Observed,), soon())
    with pytest.raises(PeerError, match="'listening' was waited for"):
        client.wait((Listening,), soon(0.05))
    assert isinstance(client.events[0], Listening)


def test_a_failure_that_is_not_waited_for_is_an_error_with_its_reason(start: Start) -> None:
    client = start(lambda: serve(Failing))
    client.send(CONFIGURE)
    with pytest.raises(PeerError, match=r"\[stub\].*gathering: no answer.*'offer' was waited for"):
        client.wait((Offered,), soon())
    assert client.close(soon()) == 0


def test_a_command_that_crossed_a_failure_is_without_effect(start: Start) -> None:
    client = start(lambda: serve(Failing))
    client.send(CONFIGURE)
    client.wait((Failed,), soon())
    client.send(Dial(remote=OFFER, start_at=0))
    assert client.close(soon()) == 0


def test_a_crash_is_told_with_the_peers_last_words(start: Start) -> None:
    client = start(lambda: serve(Crashing))
    client.send(CONFIGURE)
    client.wait((Offered,), soon())
    client.send(Dial(remote=OFFER, start_at=0))
    with pytest.raises(PeerError, match=r"(?s)ended with 1.*'connected'.*a bug in the stack"):
        client.wait((Connected,), soon())


def test_a_missed_deadline_names_what_was_waited_for(start: Start) -> None:
    def silent() -> int:
        os.write(2, b"thinking")
        hear()
        sys.stdin.read()
        return 0

    client = start(silent)
    client.send(CONFIGURE)
    began = time.monotonic()
    with pytest.raises(PeerError, match=r"(?s)deadline.*'offer' or 'failed'.*thinking"):
        client.wait((Offered, Failed), soon(0.2))
    assert 0.2 <= time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"hello\n", "not a valid event"),
        (b'{"event": "listening", "at": 1}\n', r"listening\.local"),
        (encode(Closed(at=1)), "out of order"),
        (b"x" * 70000, "are allowed"),
    ],
)
def test_a_peer_that_breaks_the_contract_is_found_out(
    start: Start, line: bytes, complaint: str
) -> None:
    def liar() -> int:
        hear()
        os.write(2, b"as I please")
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        sys.stdin.read()
        return 0

    client = start(liar)
    client.send(CONFIGURE)
    with pytest.raises(PeerError, match=rf"(?s)\[stub\].*{complaint}"):
        client.wait((Offered,), soon())


def test_a_line_in_pieces_is_one_event(start: Start) -> None:
    def slow() -> int:
        hear()
        for byte in encode(Listening(at=1, local=HERE)):
            os.write(1, bytes([byte]))
        sys.stdin.read()
        return 0

    client = start(slow)
    client.send(CONFIGURE)
    assert client.wait((Listening,), soon()) == Listening(at=1, local=HERE)


def test_a_claim_is_taken_as_it_is_said(start: Start) -> None:
    """The client believes nothing and judges nothing: that is the verdict's task."""

    def liar() -> int:
        hear()
        say(Offered(at=1, offer=OFFER))
        hear()
        say(Connected(at=2, local=HERE, remote=HERE, path=Path.DIRECT))
        hear()
        say(Closed(at=3))
        return 0

    client = start(liar)
    client.send(CONFIGURE)
    client.wait((Offered,), soon())
    client.send(Dial(remote=OFFER, start_at=0))
    event = client.wait((Connected,), soon())
    assert isinstance(event, Connected)
    assert event.path is Path.DIRECT
    assert client.close(soon()) == 0


def test_a_bad_exit_code_after_closed_is_an_error(start: Start) -> None:
    def sloppy() -> int:
        hear()
        hear()
        say(Closed(at=1))
        return 7

    client = start(sloppy)
    client.send(CONFIGURE)
    with pytest.raises(PeerError, match="ended with 7"):
        client.close(soon())


def test_a_command_out_of_order_is_not_even_sent(start: Start) -> None:
    client = start(lambda: serve(Honest))
    with pytest.raises(PeerError, match="'dial' in state 'start'"):
        client.send(Dial(remote=OFFER, start_at=0))
    client.send(CONFIGURE)
    assert isinstance(client.wait((Offered,), soon()), Offered)


def test_a_peer_refuses_commands_out_of_order(start: Start) -> None:
    client = start(lambda: serve(Honest))
    os.write(client.process.stdin.fileno(), encode(Dial(remote=OFFER, start_at=0)))
    with pytest.raises(PeerError, match=r"(?s)ended with 1.*'dial' in state 'start'"):
        client.wait((Offered,), soon())


def test_a_peer_ends_when_the_harness_is_gone(start: Start) -> None:
    client = start(lambda: serve(Honest))
    client.send(CONFIGURE)
    client.wait((Offered,), soon())
    client.process.stdin.close()
    assert client.process.wait(2.0) == 1


def test_a_dead_peer_takes_no_commands(start: Start) -> None:
    client = start(lambda: 3)
    client.process.wait(2.0)
    with pytest.raises(PeerError, match="does not take the command 'configure'"):
        client.send(CONFIGURE)


def test_close_interrupts_a_dial(start: Start) -> None:
    class Endless(Honest):
        async def dial(self, dial: Dial) -> Event:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    client = start(lambda: serve(Endless))
    client.send(CONFIGURE)
    client.wait((Offered,), soon())
    client.send(Dial(remote=OFFER, start_at=0))
    assert client.close(soon()) == 0


class Settling(Honest):
    """A stack that has a last word, after a while."""

    async def gather(self, configure: Configure, emit: Emit) -> Offer:
        self._emit = emit
        return await super().gather(configure, emit)

    async def close(self) -> None:
        await asyncio.sleep(0.3)
        self._emit(Accounted(at=now(), statements=(), keys=()))


@pytest.mark.parametrize(
    ("closing", "extra_time", "said"), [(5.0, 0.0, True), (0.05, 5.0, True), (0.05, 0.0, False)]
)
def test_a_stack_has_as_long_to_settle_as_it_asks_for_and_as_its_world_is_longer(
    start: Start, closing: float, extra_time: float, said: bool
) -> None:
    client = start(lambda: serve(Settling, closing))
    client.send(CONFIGURE.model_copy(update={"extra_time": extra_time}))
    client.wait((Offered,), soon())
    assert client.close(soon(10.0)) == 0
    assert any(isinstance(event, Accounted) for event in client.events) is said


def test_a_failure_that_crosses_the_close_does_not_disturb_it(start: Start) -> None:
    client = start(lambda: serve(Failing))
    client.send(CONFIGURE)
    assert client.close(soon()) == 0


def test_several_peers_are_waited_for_at_once(start: Start) -> None:
    clients = [start(lambda: serve(Honest)), start(lambda: serve(Failing))]
    for client in clients:
        client.send(CONFIGURE)
    failing, event = wait_any(clients, (Failed,), soon())
    assert (failing, type(event)) == (clients[1], Failed)
    clients.append(start(lambda: serve(Honest)))
    clients[2].send(CONFIGURE)
    offers = wait_all([clients[0], clients[2]], (Offered,), soon())
    assert [type(event) for event in offers] == [Offered, Offered]
    for client in clients:
        client.send(Close())
    wait_all(clients, (Closed,), soon())


def test_a_peer_that_goes_on_talking_does_not_put_off_its_deadline(start: Start) -> None:
    def flood() -> int:
        while True:
            os.write(2, b"not yet\n" * 500)

    client = start(flood)
    client.send(CONFIGURE)
    began = time.monotonic()
    with pytest.raises(PeerError, match="deadline passed"):
        client.wait((Offered,), time.monotonic() + 0.2)
    assert time.monotonic() - began < 2.0


def test_events_without_end_break_the_contract(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MOST_EVENTS", 50)

    def chatter() -> int:
        hear()
        while True:
            say(Listening(at=1, local=HERE))

    client = start(chatter)
    client.send(CONFIGURE)
    with pytest.raises(ContractError, match="more than 50 events"):
        client.wait((Offered,), soon())


@pytest.mark.parametrize(("waited", "starved"), [(0.0, False), (0.4, False), (0.6, True)])
def test_a_deadline_that_a_peer_missed_without_a_processor_is_the_machines(
    start: Start, monkeypatch: pytest.MonkeyPatch, waited: float, starved: bool
) -> None:
    """``waited``: for which part of its life it had none."""

    def sleepy() -> int:
        time.sleep(60)
        return 0

    client = start(sleepy)
    began = time.monotonic_ns()
    share = lambda: int(waited * (time.monotonic_ns() - began))  # noqa: E731
    monkeypatch.setattr(client.process, "waited_ns", share)
    client._processor = ProcessorTime(client.process)
    with pytest.raises(PeerError) as missed:
        client.wait((Offered,), time.monotonic() + 0.05)
    assert isinstance(missed.value, StarvedError) is starved


def test_what_was_said_in_time_counts_however_late_the_harness_hears_it(start: Start) -> None:
    """As where the harness itself was stopped for a while."""

    def prompt() -> int:
        hear()
        say(Listening(at=1, local=HERE))
        time.sleep(60)
        return 0

    client = start(prompt)
    client.send(CONFIGURE)
    select.select([client.process.stdout], [], [], 5.0)
    assert isinstance(client.wait((Listening,), time.monotonic() - 1.0), Listening)
