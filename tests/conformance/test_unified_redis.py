"""The store, served inside each node: what its peer sees of it, and who does not."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab
from testbed.model.presets import BARE, two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.stacks.unified import REDIS
from testbed.stacks.unified_redis import Redis
from testbed.stacks.unified_store import Store, Words, array


class Peer:
    """One connection, which the server is given time for."""

    def __init__(self, redis: Redis, connected: socket.socket) -> None:
        self.redis = redis
        self.socket = connected
        self.socket.settimeout(0.01)

    def hear(self, tries: int = 20) -> bytes:
        for _ in range(tries):
            self.redis.serve({}, 0.05)
            try:
                return self.socket.recv(4096)
            except TimeoutError:
                continue
        return b"nothing"

    def say(self, *words: bytes) -> bytes:
        self.socket.sendall(array(list(words)))
        return self.hear()


class Bench:
    """A lab whose nodes a and b are served, its peers, and what the server has seen."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.seen: list[tuple[str, Words]] = []
        self.redis = Redis(Store(), lambda node, words: self.seen.append((node, words)))
        stack.callback(self.redis.close)
        self._lab, self._stack = lab, stack
        for node in ("a", "b"):
            self.redis.open(lab, node)

    def peer(self, node: str) -> Peer:
        made = self._lab.socket(node, socket.AF_INET, socket.SOCK_STREAM)
        self._stack.callback(made.close)
        made.connect(REDIS)
        return Peer(self.redis, made)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Namespaces().start(plan(two_homes(link=BARE), catalogue())) as lab, ExitStack() as stack:
        yield Bench(lab, stack)


def test_what_one_sets_the_other_gets_and_it_is_known_who_did(bench: Bench) -> None:
    a, b = map(bench.peer, "ab")
    assert a.say(b"GET", b"k") == b"$-1\r\n"
    assert b.say(b"SET", b"k", b"value") == b"+OK\r\n"
    assert a.say(b"GET", b"k") == b"$5\r\nvalue\r\n"
    assert [(node, words[0]) for node, words in bench.seen] == [
        ("a", b"GET"),
        ("b", b"SET"),
        ("a", b"GET"),
    ]
    assert bench.redis.carried == {"b": 6}


def test_who_waits_for_an_element_is_woken_by_it(bench: Bench) -> None:
    a, b = map(bench.peer, "ab")
    assert a.say(b"BLPOP", b"l", b"0") == b"nothing"
    assert b.say(b"RPUSH", b"l", b"x") == b":1\r\n"
    assert a.hear() == array([b"l", b"x"])
    assert a.say(b"BLPOP", b"l", b"0.01") == b"*-1\r\n"


def test_who_asks_for_resp3_gets_its_nothing(bench: Bench) -> None:
    peer = bench.peer("a")
    assert peer.say(b"HELLO", b"3").startswith(b"%3\r\n")
    assert peer.say(b"GET", b"k") == b"_\r\n"


def test_a_peer_that_goes_is_told_nothing(bench: Bench) -> None:
    peer = bench.peer("a")
    assert peer.say(b"PING") == b"+PONG\r\n"
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.hear() == b""


def test_a_peer_that_talks_nonsense_is_told_so_and_left(bench: Bench) -> None:
    peer = bench.peer("a")
    peer.socket.sendall(b"*1\r\n+PING\r\n")
    assert peer.hear().startswith(b"-ERR Protocol error")
    assert peer.hear() == b""
    assert bench.peer("a").say(b"PING") == b"+PONG\r\n"


def test_a_node_that_is_not_served_reaches_no_server(bench: Bench) -> None:
    with pytest.raises(ConnectionRefusedError):
        bench.peer("server")
