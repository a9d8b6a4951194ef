"""The registry of peers, and coturn's command line."""

import subprocess
import sys
from ipaddress import IPv4Address

import pytest

from testbed.errors import UsageError
from testbed.stacks.coturn import Coturn, command
from testbed.stacks.registry import ADAPTERS, Adapter, adapter, registry


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_is_found_by_its_name_and_can_be_warmed(name: str) -> None:
    found = adapter(name)
    assert found.name == name
    found.warm()


def test_a_duplicate_name_is_refused() -> None:
    with pytest.raises(UsageError, match="two peer adapters are called 'ice'"):
        registry((adapter("ice"), adapter("ice")))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown peer 'carrier-pigeon'\n.*punch-udp"):
        adapter("carrier-pigeon")


def test_the_registry_cannot_be_changed_behind_its_back() -> None:
    with pytest.raises(TypeError):
        ADAPTERS["x"] = Adapter("x", "ice", "udp", int, lambda: None)  # type: ignore[index]


def test_importing_the_registry_imports_no_stack() -> None:
    code = (
        "import sys, testbed.stacks.registry\n"
        "print([m for m in ('aioice', 'pydantic', 'asyncio') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, timeout=10, text=True
    )
    assert out.stdout.strip() == "[]"


def test_coturn_is_configured_by_its_command_line_alone() -> None:
    words = command(Coturn((IPv4Address("29.0.0.34"), IPv4Address("29.0.0.35")), "u", "p"))
    assert words[:2] == ("turnserver", "-n")
    for wanted in (
        "--listening-ip=29.0.0.34",
        "--relay-ip=29.0.0.35",
        "--aux-server=29.0.0.34:443",
        "--user=u:p",
        "--denied-peer-ip=192.168.0.0-192.168.255.255",
        "--userdb=:memory:",
        "--pidfile=/dev/null",
        "--log-file=stdout",
    ):
        assert wanted in words
