"""A hostile LAN: no crash, no mapping believed, bounded time and memory."""

import asyncio
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from testbed.traversal.portmap.mapping import (
    ConflictError,
    NoServiceError,
    NoSuchMappingError,
    PortMapError,
    Transport,
)

from .portmap_doubles import (
    GATEWAY,
    LOCAL,
    PORT,
    STRANGER,
    IgdQuirks,
    Quirks,
    datagrams,
    igd,
    send_from,
)
from .test_portmap_igd import BOMB, EXTERNAL
from .test_portmap_mapper import PCP, PMP, UPNP, mapper, only

UDP = Transport.UDP
KIB = 1024


def noise(data: bytes) -> bytes:
    return random.Random(len(data)).randbytes(len(data))


SPOILERS: list[Callable[[bytes], bytes]] = [
    noise,
    lambda _: b"",
    lambda data: data[:7],
    lambda data: data[:-1],
    lambda data: data[:1] + bytes([data[1] & 127]) + data[2:],  # a request, not an answer
    lambda data: data[:1] + bytes([data[1] ^ 3]) + data[2:],  # another opcode
]


@pytest.mark.parametrize("probe", [PCP, PMP])
@pytest.mark.parametrize("index", range(len(SPOILERS)))
def test_a_garbled_answer_is_as_none(probe: Any, index: int) -> None:
    async def run() -> None:
        quirks = Quirks(spoil=SPOILERS[index])
        async with datagrams(quirks, quirks), mapper(only(probe)) as (it, _):
            with pytest.raises(NoServiceError, match="no answer"):
                await it.map(UDP, 4001)

    asyncio.run(run())


@pytest.mark.parametrize("probe", [PCP, PMP])
def test_an_answer_from_another_address_is_as_none(probe: Any) -> None:
    async def run() -> None:
        quirks = Quirks(source=STRANGER)
        async with datagrams(quirks, quirks), mapper(only(probe)) as (it, _):
            with pytest.raises(NoServiceError):
                await it.map(UDP, 4001)

    asyncio.run(run())


@pytest.mark.parametrize("probe", [PCP, PMP])
def test_a_service_that_is_too_slow_is_as_none_within_the_deadline(probe: Any) -> None:
    async def run() -> None:
        start = time.monotonic()
        quirks = Quirks(delay=3.0)
        async with datagrams(quirks, quirks), mapper(only(probe)) as (it, _):
            with pytest.raises(NoServiceError):
                await it.map(UDP, 4001)
        assert time.monotonic() - start < 2.0

    asyncio.run(run())


@pytest.mark.parametrize("probe", [PCP, PMP])
def test_a_mapping_to_port_or_lifetime_zero_is_not_believed(probe: Any) -> None:
    async def run() -> None:
        for quirks in (Quirks(shift=-4001), Quirks(lifetime=0)):
            async with datagrams(quirks, quirks), mapper(only(probe)) as (it, _):
                with pytest.raises(NoServiceError):
                    await it.map(UDP, 4001)

    asyncio.run(run())


@pytest.mark.parametrize(
    "quirks",
    [
        IgdQuirks(source=STRANGER),
        IgdQuirks(location=f"http://{STRANGER}:80/desc.xml"),
        IgdQuirks(location="http://73.0.0.1/desc.xml"),
        IgdQuirks(location="file:///etc/passwd"),
        IgdQuirks(location=f"http://{GATEWAY}:1/closed"),
        IgdQuirks(description=b"<root/>"),
        IgdQuirks(description=BOMB),
        IgdQuirks(description=EXTERNAL),
        IgdQuirks(description=b"<a>" * 20000),
        IgdQuirks(description=b"<root>" + b" " * 10**6 + b"</root>"),
        IgdQuirks(spoil=noise),
        IgdQuirks(spoil=lambda data: data[:-1]),
        IgdQuirks(spoil=lambda _: b"HTTP/1.1 302 Found\r\nLocation: http://73.0.0.1/\r\n\r\n"),
        IgdQuirks(spoil=lambda _: b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10**5),
        IgdQuirks(spoil=lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5 * 10**6)),
        IgdQuirks(drip=0.01),
    ],
)
def test_a_upnp_gateway_that_lies_is_disbelieved_within_time_and_memory(quirks: IgdQuirks) -> None:
    async def run() -> None:
        async with igd(quirks), mapper(only(UPNP)) as (it, _):
            tracemalloc.start()
            try:
                start = time.monotonic()
                with pytest.raises(NoServiceError):
                    await it.map(UDP, 4001)
                assert time.monotonic() - start < 2.0
                # the double itself holds the response that it made, several times over
                ours = tracemalloc.take_snapshot().filter_traces(
                    [tracemalloc.Filter(True, "*/testbed/traversal/*")]
                )
            finally:
                tracemalloc.stop()
        held = sum(trace.size for trace in ours.traces)
        assert held < 512 * KIB, held

    asyncio.run(run())


def test_a_gateway_that_says_yes_and_does_nothing_is_found_out() -> None:
    async def run() -> None:
        async with igd(IgdQuirks(lies=True)), mapper(only(UPNP)) as (it, _):
            with pytest.raises(NoSuchMappingError):
                await it.map(UDP, 4001)

    asyncio.run(run())


def test_a_gateway_that_mapped_to_somebody_else_is_found_out() -> None:
    async def run() -> None:
        async with igd(IgdQuirks(lies=True)) as double, mapper(only(UPNP)) as (it, _):
            double.entries["UDP", 4001] = (str(STRANGER), 4001, 600)
            with pytest.raises(ConflictError):
                await it.map(UDP, 4001)

    asyncio.run(run())


def test_a_search_that_strangers_answer_a_thousand_times_still_finds_the_gateway() -> None:
    async def run() -> None:
        async with igd(IgdQuirks()), mapper(only(UPNP)) as (it, _):
            mapping = asyncio.create_task(it.map(UDP, 4001))
            lie = f"HTTP/1.1 200 OK\r\nLOCATION: http://{STRANGER}/\r\n\r\n".encode()
            for port in range(32768, 60999, 37):  # the search's own port is among these, or near
                send_from(STRANGER, 1900, lie, (str(LOCAL), port))
            assert (await mapping).external.port == 4001

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(3))
def test_any_datagrams_while_a_mapping_is_made_do_no_harm(seed: int) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        quirks = Quirks(spoil=lambda data: bytes(b ^ (rng.random() < 0.05) for b in data))
        async with datagrams(quirks, quirks) as double, mapper(only(PCP, PMP)) as (it, _):
            for n in range(100):
                source = rng.choice((STRANGER, GATEWAY))
                double.announce(rng.randbytes(rng.randrange(1200)), source)
                send_from(source, PORT, rng.randbytes(60), (str(LOCAL), 5350))
                if n == 0:
                    quirks.spoil = bytes
            for _ in range(20):
                try:
                    await it.map(UDP, 4001)
                    break
                except PortMapError:
                    continue
            assert it.mappings

    asyncio.run(run())
