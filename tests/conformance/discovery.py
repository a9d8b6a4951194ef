"""RFC 5780 behind a NAT: our client with our server, with coturn, and coturn's own client."""

import asyncio
import json
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass

from testbed.errors import BackendError, UnfitError
from testbed.model.lab import Lab
from testbed.stacks.coturn import CONFINEMENT, PORT, Coturn, coturn
from testbed.studies.autonat.nodes import Remote
from testbed.traversal.aio.stun import StunServer, discover
from testbed.traversal.nat_discovery import Behaviour
from testbed.traversal.stun_server import Addresses

OURS = (5478, 5479)  # the ports of our server; coturn has 3478 and 3479 of the same addresses
CLIENT, SERVER = "a", "server"
_HELPING = 5.0  # seconds for coturn
_ASKING = 60.0  # seconds for coturn's client, which waits long for what is filtered
_WORDS = re.compile(r"Endpoint Independent|Address and Port Dependent|Address Dependent|No NAT")


@dataclass(frozen=True)
class Second:
    """What coturn's client prints: RFC 4787's words, None for what it does not say."""

    mapping: str | None
    filtering: str | None


@dataclass(frozen=True)
class Discovered:
    """Three opinions on one NAT."""

    ours: Behaviour  # our client and our server
    with_coturn: Behaviour  # our client and coturn's server
    coturns: Second  # coturn's client and server


def measure(lab: Lab) -> Discovered:
    """Ask from the LAN's host; UnfitError where coturn's client is not installed."""
    ips = [str(address) for address in lab.plan.addresses[SERVER]]
    with ExitStack() as stack:
        config = Coturn(lab.plan.addresses[SERVER], options=discovery_options(lab, SERVER))
        stack.enter_context(coturn(lab, SERVER, config))
        serving = lab.spawn(SERVER, lambda: asyncio.run(_serve(ips)))
        stack.callback(serving.kill)
        Remote(SERVER, serving).answer()
        asking = lab.spawn(CLIENT, lambda: asyncio.run(_ask(str(lab.plan.address(CLIENT)), ips[0])))
        stack.callback(asking.kill)
        second = _second_opinion(lab, ips[0])
        ours, with_coturn = (Behaviour(**told) for told in Remote(CLIENT, asking).answer())
    return Discovered(ours, with_coturn, second)


def discovery_options(lab: Lab, node: str) -> tuple[str, ...]:
    """What makes this release of coturn serve RFC 5780: older ones do so unasked."""
    process = lab.spawn(node, ("turnserver", "--help"), CONFINEMENT)
    try:
        process.wait(_HELPING)
        listed = (process.stdout.read() + process.stderr.read()).decode(errors="replace")
    finally:
        process.kill()
    return ("--rfc5780",) if re.search(r"^\s*--rfc5780\b", listed, re.MULTILINE) else ()


async def _serve(ips: list[str]) -> int:
    addresses = Addresses((ips[0], OURS[0]), (ips[1], OURS[1]))
    async with StunServer(addresses):
        os.write(1, b"true\n")
        await asyncio.Event().wait()
    return 0


async def _ask(ip: str, server: str) -> int:
    both = await asyncio.gather(discover((server, OURS[0]), ip=ip), discover((server, PORT), ip=ip))
    os.write(1, (json.dumps([vars(found) for found in both]) + "\n").encode())
    return 0


def _second_opinion(lab: Lab, server: str) -> Second:
    def run(flag: str) -> str | None:
        command = ("turnutils_natdiscovery", flag, "-p", str(PORT), server)
        try:
            words = lab.run(CLIENT, command, timeout=_ASKING).decode(errors="replace")
        except FileNotFoundError as error:
            remedy = "apt-get install coturn"
            raise UnfitError("'turnutils_natdiscovery' is not installed", remedy=remedy) from error
        except BackendError:  # it exits with an error where nothing answers
            return None
        found = _WORDS.findall(words)
        return found[-1].lower().replace(" ", "_") if found else None

    return Second(run("-m"), run("-f"))
