"""Whom to ask, and when to ask again."""

import itertools
import random
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.traversal.aio.gateway import default_gateway, uplink
from testbed.traversal.portmap.lease import renewals
from testbed.traversal.portmap.mapping import NoGatewayError

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"


def route(destination: str, gateway: str, flags: str, metric: int, mask: str) -> str:
    return f"eth0 {destination} {gateway} {flags} 0 0 {metric} {mask} 0 0 0\n"


DEFAULT = route("00000000", "0101A8C0", "0003", 100, "00000000")


@pytest.mark.parametrize(
    ("lines", "gateway"),
    [
        (DEFAULT, "192.168.1.1"),
        (DEFAULT + route("00000000", "0201A8C0", "0003", 50, "00000000"), "192.168.1.2"),
        (route("00000000", "00000000", "0001", 0, "00000000"), None),  # a link, no gateway
        (route("00000000", "0101A8C0", "0002", 0, "00000000"), None),  # it is down
        (route("0001A8C0", "0101A8C0", "0003", 0, "00FFFFFF"), None),  # not the default
        (route("00000000", "0101A8C0", "0003", 0, "00000080"), None),  # half of everything
        ("", None),
    ],
)
def test_the_gateway_is_the_default_route_s_with_the_least_metric(
    lines: str, gateway: str | None
) -> None:
    assert default_gateway(HEAD + lines) == (IPv4Address(gateway) if gateway else None)


@pytest.mark.parametrize(
    "line", ["eth0 0", "eth0 x y z 0 0 0 0 0", DEFAULT.replace("0101A8C0", "g")]
)
def test_a_table_that_is_none_is_an_error_of_its_type(line: str) -> None:
    with pytest.raises(NoGatewayError):
        default_gateway(HEAD + line)


def test_a_system_that_does_not_tell_its_routes_has_no_gateway(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("testbed.traversal.aio.gateway.ROUTES", tmp_path / "none")
    with pytest.raises(NoGatewayError, match="name the gateway"):
        uplink()


def test_where_the_last_route_is_gone_there_is_no_gateway(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "route").write_text(HEAD)
    monkeypatch.setattr("testbed.traversal.aio.gateway.ROUTES", tmp_path / "route")
    with pytest.raises(NoGatewayError, match="no default route"):
        uplink()


def test_renewals_are_at_a_half_three_quarters_and_so_on() -> None:
    for seed in range(50):
        times = list(renewals(7200, random.Random(seed)))
        assert 3600 <= times[0] <= 3600 + 900
        assert 5400 <= times[1] <= 5400 + 450
        assert 6300 <= times[2] <= 6300 + 225
        assert times == sorted(times)
        assert min(b - a for a, b in itertools.pairwise(times)) >= 4
        assert times[-1] < 7200


def test_a_short_lease_is_renewed_once_and_a_long_one_within_a_day() -> None:
    assert len(list(renewals(2, random.Random(1)))) == 1
    assert max(renewals(2**32 - 1, random.Random(1))) < 24 * 3600
