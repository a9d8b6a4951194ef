"""A peer of the unified-testing contract that cheats: by what it is told in its first word.

    boast     ends with 0 and a result, having done nothing
    redis     sends a payload through Redis, both ways, and calls that a connection
    veth      lays a wire of its own to the other peer's network, and leaves it there
    veth-gone the same, and takes it away before it ends

Needs the standard library and ``ip`` alone.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import BinaryIO, cast

DEADLINE = 20.0
PAYLOAD = bytes(range(256)) * 64
KEY = os.environ["TEST_KEY"]
DIALS = os.environ["IS_DIALER"] == "true"
NAME = "12D3KooWQxC64Er745zu8VgJwabtzVDDSMqPt8eTGFTEfej7ENip"  # of nobody


def ask(redis: BinaryIO, *words: bytes) -> bytes | None:
    redis.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
    redis.flush()
    line = redis.readline()
    if line[:1] != b"$" or line == b"$-1\r\n":
        return None
    return redis.read(int(line[1:]) + 2)[:-2]


def wait_for(redis: BinaryIO, name: str) -> bytes:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = ask(redis, b"GET", f"{KEY}_{name}".encode())
        if value is not None:
            return value
        time.sleep(0.02)
    sys.exit(f"{name} was not set")


def put(redis: BinaryIO, name: str, value: bytes) -> None:
    ask(redis, b"SET", f"{KEY}_{name}".encode(), value)


def by_redis(redis: BinaryIO) -> None:
    if DIALS:
        put(redis, "there", PAYLOAD)
        assert wait_for(redis, "back") == PAYLOAD
    else:
        put(redis, "back", wait_for(redis, "there"))


def by_wire(redis: BinaryIO) -> None:
    """The listener tells its process, whose network the dialer reaches into."""
    if not DIALS:
        put(redis, "process", b"%d" % os.getpid())
        wait_for(redis, "laid")
        shell("ip addr add 192.0.2.2/24 dev cheat1 && ip link set cheat1 up")
        with socket.create_server(("192.0.2.2", 5000)) as server:
            put(redis, "ready", b"yes")
            connection = server.accept()[0]
            connection.sendall(all_of(connection))
        return
    process = wait_for(redis, "process").decode()
    shell(f"ip link add cheat0 type veth peer name cheat1 netns {process}")
    shell("ip addr add 192.0.2.1/24 dev cheat0 && ip link set cheat0 up")
    put(redis, "laid", b"yes")
    wait_for(redis, "ready")
    with socket.create_connection(("192.0.2.2", 5000), DEADLINE) as connection:
        connection.sendall(PAYLOAD)
        assert all_of(connection) == PAYLOAD


def all_of(connection: socket.socket) -> bytes:
    """The payload, in as many pieces as it comes; MSG_WAITALL waits for none with a timeout set."""
    with connection.makefile("rb") as file:
        return file.read(len(PAYLOAD))


def by_wire_taken_away(redis: BinaryIO) -> None:
    by_wire(redis)
    if DIALS:
        shell("ip link del cheat0")


def shell(words: str) -> None:
    subprocess.run(["sh", "-c", words], check=True)


WAYS: dict[str, Callable[[BinaryIO], None]] = {
    "boast": lambda _: None,
    "redis": by_redis,
    "veth": by_wire,
    "veth-gone": by_wire_taken_away,
}

if __name__ == "__main__":
    host, _, port = os.environ["REDIS_ADDR"].rpartition(":")
    with socket.create_connection((host, int(port)), DEADLINE) as met, met.makefile("rwb") as file:
        redis = cast(BinaryIO, file)
        if DIALS:
            wait_for(redis, "listener_peer_id")
        else:
            put(redis, "listener_peer_id", NAME.encode())
        WAYS[sys.argv[1]](redis)
    if DIALS:
        print("latency:\n  handshake_plus_one_rtt: 61.50\n  ping_rtt: 40.10\n  unit: ms")
    else:
        time.sleep(DEADLINE)
