"""Many conversations in one thread: each waits for its own, and fails alone."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from testbed.errors import PeerError
from testbed.model.contract import Event, Failed, FailureClass, Offer, Offered
from testbed.model.contract_lines import encode
from testbed.stacks.client import PeerClient
from testbed.stacks.order import State
from testbed.studies.punch.talks import Moment, Start, Talk, Wait, converse


class Mute:
    """A process of which the test holds the other ends of the pipes."""

    pid = 0
    killed = False

    def __init__(self) -> None:
        (self._in, stdin), (stdout, self.out), (stderr, self._err) = (os.pipe() for _ in range(3))
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb", 0)
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb", 0)
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb", 0)

    def poll(self) -> int | None:
        return None

    def halted(self) -> bool:
        return False

    def wait(self, timeout: float) -> int:
        raise TimeoutError(timeout)

    def waited_ns(self) -> int | None:
        return None

    def kill(self) -> None:
        pass

    def hang_up(self) -> None:
        os.close(self.out)
        self.out = -1

    def close(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        for fd in (self._in, self._err, self.out):
            if fd >= 0:
                os.close(fd)

    def say(self, event: Event) -> None:
        os.write(self.out, encode(event))


OFFER = Offered(at=1, offer=Offer(addresses=(), ice=None))


def failing(why: str) -> Failed:
    return Failed(at=1, failure=FailureClass.GATHERING, reason=why)


def waiting(*clients: PeerClient, seconds: float = 5.0) -> Talk[list[str]]:
    came: Sequence[Event] = yield Wait(clients, (Offered, Failed), time.monotonic() + seconds)
    return [event.event for event in came]


def starting() -> Talk[Moment]:
    moment: Moment = yield Start()
    return moment


@contextmanager
def peers(count: int) -> Iterator[list[tuple[Mute, PeerClient]]]:
    found = [Mute() for _ in range(count)]
    yield [(one, client(one, f"p{number}")) for number, one in enumerate(found)]
    for one in found:
        one.close()


def client(process: Mute, name: str) -> PeerClient:
    found = PeerClient(process, name)
    found._state = State.GATHERING  # as if it had been told so
    return found


def test_each_conversation_gets_the_events_of_its_own_peers_in_their_order() -> None:
    with peers(4) as (a, b, c, d):
        for process, _ in (d, a, c):
            process.say(OFFER)
        b[0].say(failing("no answer"))
        first, second = converse([waiting(a[1], b[1]), waiting(c[1], d[1])])
    assert first.result == ["offer", "failed"]
    assert second.result == ["offer", "offer"]


def test_a_peer_that_ends_spoils_its_own_conversation_alone() -> None:
    with peers(2) as (a, b):
        a[0].hang_up()
        b[0].say(OFFER)
        broken, sound = converse([waiting(a[1]), waiting(b[1])])
    assert isinstance(broken.result, PeerError)
    assert broken.result.node == "p0"
    assert sound.result == ["offer"]


def test_a_deadline_that_passes_names_who_was_silent() -> None:
    with peers(3) as (a, b, c):
        a[0].say(OFFER)
        c[0].say(OFFER)
        late, sound = converse([waiting(a[1], b[1], seconds=0.05), waiting(c[1])])
    assert isinstance(late.result, PeerError)
    assert late.result.node == "p1"
    assert sound.result == ["offer"]
    assert late.seconds >= 0.05 > sound.seconds


def test_all_that_can_start_do_so_at_one_moment_which_waits_for_those_that_gather() -> None:
    def gathering(one: PeerClient) -> Talk[Moment]:
        yield from waiting(one)
        return (yield from starting())

    with peers(2) as (a, b):
        b[0].say(OFFER)

        def answers() -> Any:
            a[0].say(OFFER)
            return (yield from starting())

        moments = [
            ended.result for ended in converse([gathering(b[1]), answers(), gathering(a[1])])
        ]
    assert all(isinstance(moment, Moment) for moment in moments)
    assert len(set(moments)) == 1


def test_who_fails_before_the_start_does_not_keep_the_others_from_it() -> None:
    with peers(1) as ((process, one),):
        process.hang_up()
        broken, sound = converse([waiting(one), starting()])
    assert isinstance(broken.result, PeerError)
    assert isinstance(sound.result, Moment)


def test_a_conversation_may_go_on_after_an_error_that_it_meets() -> None:
    def patient(one: PeerClient) -> Talk[str]:
        try:
            yield from waiting(one, seconds=0.01)
        except PeerError:
            return "went on"
        return "heard"

    with peers(1) as ((_, one),):
        (ended,) = converse([patient(one)])
    assert ended.result == "went on"
