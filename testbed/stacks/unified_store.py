"""The keys and lists that unified-testing's peers meet by: Redis's commands, without I/O.

Peers set and poll two keys; what client libraries say besides, to get acquainted, is
answered so that they go on.  RESP2, and RESP3 for who asks for it (redis.io, "Redis
serialization protocol specification").
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

LONGEST = 1 << 20  # bytes of a request
Words = list[bytes]
_NOTHING = b"$-1\r\n"
_NO_LIST = b"*-1\r\n"
_OK = b"+OK\r\n"
_WRONG_TYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


class NotRedis(ValueError):
    """These bytes are no request."""


def requests(buffer: bytearray) -> Iterator[Words]:
    """Take the whole requests from the front of ``buffer``.  NotRedis if there is none such."""
    while buffer:
        taken = _request(bytes(buffer))
        if taken is None:
            if len(buffer) > LONGEST:
                raise NotRedis(f"a request of more than {LONGEST} bytes")
            return
        words, length = taken
        del buffer[:length]
        if words:
            yield words


def _request(data: bytes) -> tuple[Words, int] | None:
    """The first request and its length; None while it is not whole."""
    head, newline, _ = data.partition(b"\r\n")
    if not newline:
        return None
    at = len(head) + 2
    if not head.startswith(b"*"):
        return head.split(), at  # as a person types it
    words = []
    for _ in range(_number(head)):
        line, newline, _ = data[at:].partition(b"\r\n")
        if not newline:
            return None
        if not line.startswith(b"$"):
            raise NotRedis(f"{line[:20]!r} where a string was to begin")
        start = at + len(line) + 2
        at = start + _number(line) + 2
        if len(data) < at:
            return None
        words.append(data[start : at - 2])
    return words, at


def _number(line: bytes) -> int:
    if not line[1:].isdigit() or int(line[1:]) > LONGEST:
        raise NotRedis(f"{line[:20]!r} has no length")
    return int(line[1:])


def bulk(value: bytes | None) -> bytes:
    return _NOTHING if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


def array(values: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(values) + b"".join(map(bulk, values))


def _integer(value: int) -> bytes:
    return b":%d\r\n" % value


@dataclass
class Store:
    """What the peers of one cell know of each other."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    lists: dict[bytes, deque[bytes]] = field(default_factory=dict)

    def answer(self, words: Words) -> bytes | None:
        """The reply; None if the command waits for an element (BLPOP, BRPOP)."""
        name = words[0].upper()
        known = _COMMANDS.get(name)
        if known is None:
            return b"-ERR unknown command '%s'\r\n" % name[:40]
        least, command = known
        if len(words) <= least:
            return b"-ERR wrong number of arguments for '%s' command\r\n" % name.lower()
        return command(self, words)

    def set(self, words: Words) -> bytes:
        _, key, value, *options = words
        wanted = {option.upper() for option in options}
        old, there = self.values.get(key), self.holds(key)
        if (b"NX" in wanted and there) or (b"XX" in wanted and not there):
            return bulk(old) if b"GET" in wanted else _NOTHING
        self.lists.pop(key, None)
        self.values[key] = value
        return bulk(old) if b"GET" in wanted else _OK

    def get(self, words: Words) -> bytes:
        return _WRONG_TYPE if words[1] in self.lists else bulk(self.values.get(words[1]))

    def delete(self, words: Words) -> bytes:
        gone = [key for key in set(words[1:]) if self.holds(key)]
        for key in gone:
            self.values.pop(key, None)
            self.lists.pop(key, None)
        return _integer(len(gone))

    def exists(self, words: Words) -> bytes:
        return _integer(sum(self.holds(key) for key in words[1:]))

    def push(self, words: Words) -> bytes:
        name, key, *values = words
        if key in self.values:
            return _WRONG_TYPE
        held = self.lists.setdefault(key, deque())
        (held.extendleft if name.upper() == b"LPUSH" else held.extend)(values)
        return _integer(len(held))

    def pop(self, words: Words) -> bytes:
        held = self.lists.get(words[1])
        if held is None:
            return _WRONG_TYPE if words[1] in self.values else _NOTHING
        return bulk(self._taken(words[0].upper(), words[1], held))

    def wait_pop(self, words: Words) -> bytes | None:
        """Of the first list that has an element; the last word is a timeout."""
        for key in words[1:-1]:
            held = self.lists.get(key)
            if held:
                return array([key, self._taken(words[0].upper()[1:], key, held)])
        return None

    def _taken(self, name: bytes, key: bytes, held: deque[bytes]) -> bytes:
        value = held.popleft() if name == b"LPOP" else held.pop()
        if not held:
            del self.lists[key]
        return value

    def range(self, words: Words) -> bytes:
        held = list(self.lists.get(words[1], ()))
        try:
            first, last = (max(0, n + len(held)) if n < 0 else n for n in map(int, words[2:4]))
        except ValueError:
            return b"-ERR value is not an integer or out of range\r\n"
        return array(held[first : last + 1])

    def expire(self, words: Words) -> bytes:
        """A cell is over before anything expires."""
        return _integer(self.holds(words[1]))

    def holds(self, key: bytes) -> bool:
        """Whether there is a value or a list of that name."""
        return key in self.values or key in self.lists


TIMED_OUT = _NO_LIST


def hello(words: Words) -> tuple[int, bytes]:
    """The protocol that HELLO asks for, 0 if there is none such, and the reply."""
    asked = words[1] if len(words) > 1 else b"2"
    if asked not in (b"2", b"3"):
        return 0, b"-NOPROTO unsupported protocol version\r\n"
    said = b"".join(map(bulk, (b"server", b"redis", b"version", b"7.0.0", b"proto")))
    head = b"%3" if asked == b"3" else b"*6"
    return int(asked), b"%s\r\n%s:%s\r\n" % (head, said, asked)


def in_resp3(reply: bytes) -> bytes:
    """There nothing has one form; the rest of our replies is the same."""
    return b"_\r\n" if reply in (_NOTHING, _NO_LIST) else reply


def _acquaintance(_: Store, words: Words) -> bytes:
    """What clients say first."""
    match words[0].upper():
        case b"PING":
            return bulk(words[1]) if len(words) > 1 else b"+PONG\r\n"
        case b"ECHO":
            return bulk(words[1])
        case b"INFO":
            return bulk(b"redis_version:7.0.0\r\nredis_mode:standalone\r\nloading:0\r\n")
        case _:
            return _OK


# name -> how many words it takes at least, what is done
_COMMANDS: dict[bytes, tuple[int, Callable[[Store, Words], bytes | None]]] = {
    **dict.fromkeys((b"PING", b"INFO", b"QUIT", b"SELECT", b"CLIENT"), (0, _acquaintance)),
    b"ECHO": (1, _acquaintance),
    b"SET": (2, Store.set),
    b"GET": (1, Store.get),
    **dict.fromkeys((b"DEL", b"UNLINK"), (1, Store.delete)),
    b"EXISTS": (1, Store.exists),
    **dict.fromkeys((b"EXPIRE", b"PEXPIRE"), (2, Store.expire)),
    **dict.fromkeys((b"RPUSH", b"LPUSH"), (2, Store.push)),
    **dict.fromkeys((b"LPOP", b"RPOP"), (1, Store.pop)),
    **dict.fromkeys((b"BLPOP", b"BRPOP"), (2, Store.wait_pop)),
    b"LRANGE": (3, Store.range),
}
