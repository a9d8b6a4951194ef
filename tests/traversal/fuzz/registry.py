"""What a target is: real inputs to start from, and a check that any bytes must pass."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.traversal.errors import TraversalError
from testbed.traversal.keys import PrivateKey
from testbed.traversal.multiaddr import Multiaddr
from testbed.traversal.peer_id import PeerId

MAX_INPUT = 4096
KEY = PrivateKey.from_seed(bytes(range(32)))
PEER = PeerId.from_public_key(KEY.public)
ADDRESSES = tuple(
    Multiaddr.parse(text)
    for text in (
        "/ip4/1.2.3.4/tcp/4001",
        "/ip6/2001:db8::1/udp/4001/quic-v1",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        "/dns4/example.org/tcp/443/tls/sni/example.org/ws",
        "/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/zQmaZ",
    )
)


@dataclass(frozen=True)
class Target:
    """`check` raises a TraversalError for what it refuses, and AssertionError for a broken promise.

    Any other exception is a bug of the parser.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]

    def run(self, data: bytes) -> bool:
        """Whether the input was accepted; a refusal must be a typed error."""
        with contextlib.suppress(TraversalError):
            self.check(data)
            return True
        return False

    def write_seeds(self, folder: Path) -> None:
        """A starting corpus for libFuzzer."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, seed in enumerate(self.seeds):
            (folder / f"seed-{index}").write_bytes(seed)


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a check under its function's name."""

    def register(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[check.__name__] = Target(check.__name__, check, seeds)
        return check

    return register


def modes(data: bytes, count: int) -> tuple[int, bytes]:
    """The first byte says which of `count` entrances the rest takes."""
    return (data[0] % count, data[1:]) if data else (0, b"")


def prefixed(mode: int, *seeds: bytes) -> tuple[bytes, ...]:
    """Seeds for one entrance."""
    return tuple(bytes([mode]) + seed for seed in seeds)


def mutations(seeds: tuple[bytes, ...], count: int, seed: int) -> Iterator[bytes]:
    """Seeds and their mutations: bytes changed, cut, doubled, spliced; some are pure noise."""
    rng = random.Random(seed)
    yield from seeds
    for _ in range(count):
        if rng.random() < 0.15:
            yield rng.randbytes(rng.randrange(200))
            continue
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(5)):
            if data:
                data[rng.randrange(len(data))] = rng.choice(
                    (0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256))
                )
        cut = rng.randrange(len(data) + 1)
        tail = rng.choice((b"", bytes(data[cut:]), bytes(data), rng.choice(seeds)[cut:]))
        yield (bytes(data[:cut]) + tail)[:MAX_INPUT]
