"""The gateway as the sandbox has it, whose addresses may be changed: a user's machine's may not."""

import asyncio
import subprocess
from ipaddress import IPv4Address

import pytest

from testbed.traversal.aio.gateway import uplink, watch
from testbed.traversal.portmap.mapping import NoGatewayError


def test_a_host_without_a_default_route_has_no_gateway() -> None:
    with pytest.raises(NoGatewayError):
        uplink()  # the sandbox has loopback alone
    with pytest.raises(NoGatewayError):
        uplink(IPv4Address("73.0.0.1"))


def test_a_change_of_addresses_is_told_at_once() -> None:
    async def run() -> None:
        changed = asyncio.Event()
        with watch(changed.set):
            subprocess.run(["ip", "addr", "add", "127.7.7.7/32", "dev", "lo"], check=True)
            try:
                await asyncio.wait_for(changed.wait(), 2)
            finally:
                subprocess.run(["ip", "addr", "del", "127.7.7.7/32", "dev", "lo"], check=True)

    asyncio.run(run())
