"""Names in addresses: `/dns4`, `/dns6` and `/dns` by the system, `/dnsaddr` by TXT records.

Only of addresses that the user dials: a stranger's names would have us ask whom he likes.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from ..errors import AddressError, DialError, DialFailure, DialTimeoutError
from ..multiaddr import Multiaddr

Part = tuple[str, str | None]
LookupTxt = Callable[[str], Awaitable[Iterable[str]]]
_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}
_TIMEOUT = 5.0
_DELAY = 0.05
_V4, _V6 = socket.AF_INET, socket.AF_INET6
_MAX_FOUND = 16  # of one name
_MAX_DEPTH = 4  # a dnsaddr record may name another


async def resolve(
    address: Multiaddr, lookup_txt: LookupTxt | None, depth: int = 0
) -> tuple[Multiaddr, ...]:
    """The address with IPs in its name's place; itself where it has none.

    Raises DialError when a name leads nowhere within five seconds.
    """
    name, value = address.parts[0] if address.parts else ("", None)
    try:
        async with asyncio.timeout(_TIMEOUT):
            if name in _FAMILIES and value:
                return await _by_system(address, value, _FAMILIES[name])
            if name == "dnsaddr" and value:
                return await _by_records(address, value, lookup_txt, depth)
    except DialError:  # of a name that a record names
        raise
    except TimeoutError as error:
        reason = f"{value} was not resolved in {_TIMEOUT:g} s"
        raise DialTimeoutError(address, reason) from error
    except OSError as error:
        raise DialError(address, DialFailure.UNREACHABLE, f"{value}: {error}") from error
    return (address,)


async def _by_system(address: Multiaddr, name: str, family: int) -> tuple[Multiaddr, ...]:
    ips = await _looked_up(name, *((_V6, _V4) if family == socket.AF_UNSPEC else (family,)))
    kinds = ((f"ip{6 if ':' in ip else 4}", ip) for ip in list(ips)[:_MAX_FOUND])
    above = tuple(_certified(address.parts[1:], name))
    return tuple(Multiaddr((kind, *above)) for kind in kinds)


async def _looked_up(name: str, *families: socket.AddressFamily) -> dict[str, None]:
    """The IPs of a name, of each family by a question of its own.

    IPv6 that is slow to be told costs no more than the resolution delay (RFC 8305 section 3):
    where IPv4 is there first, that is waited, and no longer.  Raises OSError.
    """
    loop = asyncio.get_running_loop()
    asked = [
        loop.create_task(loop.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM))
        for family in families
    ]
    try:
        await asyncio.wait(asked[-1:])
        done, _ = await asyncio.wait(asked, timeout=None if _failed(asked[-1]) else _DELAY)
    finally:
        for task in asked:
            task.cancel()
    told = [task for task in asked if task in done]
    found = [entry for task in told if not _failed(task) for entry in task.result()]
    if not found:
        told[-1].result()
    return dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.exception() is not None


def _certified(parts: Sequence[Part], name: str) -> Iterator[Part]:
    """TLS of the web asks for a certificate of the name, which the IP alone does not tell."""
    named = any(kind == "sni" for kind, _ in parts)
    for part in parts:
        secure = part[0] in ("tls", "wss")
        if not secure or named:
            yield part
            continue
        yield from (("tls", None), ("sni", name))
        if part[0] == "wss":
            yield ("ws", None)


async def _by_records(
    address: Multiaddr, name: str, lookup_txt: LookupTxt | None, depth: int
) -> tuple[Multiaddr, ...]:
    """Of the records those that end as the address does: it may name the peer."""
    if lookup_txt is None:
        reason = "nothing looks up TXT records here (NodeOptions.lookup_txt)"
        raise DialError(address, DialFailure.UNSUPPORTED, reason)
    if depth >= _MAX_DEPTH:
        raise DialError(address, DialFailure.UNREACHABLE, "its records go round in a circle")
    wanted = address.parts[1:]
    found: list[Multiaddr] = []
    for record in list(await lookup_txt(f"_dnsaddr.{name}"))[:_MAX_FOUND]:
        try:
            one = Multiaddr.parse(record.removeprefix("dnsaddr="))
        except AddressError:
            continue
        if record.startswith("dnsaddr=") and one.parts[len(one.parts) - len(wanted) :] == wanted:
            found += await resolve(one, lookup_txt, depth + 1)
    if not found:
        raise DialError(address, DialFailure.UNREACHABLE, f"no record of {name} fits")
    return tuple(dict.fromkeys(found))[:_MAX_FOUND]
