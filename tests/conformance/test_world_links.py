"""What the links of a world's file do to packets in a lab."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.presets import find
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

NARROW = """\
title = "One home behind a link of which something is to be seen"
source = "none: for these tests"

[networks]
lan-a = "private"

[links.narrow]
delay_ms = 5
{link}

[routers.nat-a]
wan = "internet"
lan = "lan-a"
profile = "linux-home"
link = "narrow"

[hosts.a]
network = "lan-a"

[hosts.server]
network = "internet"
addresses = 2
"""
DONT_FRAGMENT = (socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
HEADERS = 28  # of IP and UDP


@contextmanager
def lab(folder: Path, link: str) -> Iterator[NamespaceLab]:
    file = folder / "narrow.toml"
    file.write_text(NARROW.format(link=link), encoding="utf-8")
    with Namespaces().start(plan(find(str(file)).topology(), catalogue())) as up:
        yield up


@contextmanager
def pair(up: NamespaceLab) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket of a's that is connected to one of the server's."""
    with (
        up.socket("server", socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        up.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        server = str(up.plan.address("server"))
        receiver.bind((server, 9000))
        receiver.settimeout(0.5)
        sender.setsockopt(*DONT_FRAGMENT)
        sender.settimeout(0.5)
        sender.connect((server, 9000))
        yield sender, receiver


def arrives(sender: socket.socket, receiver: socket.socket, length: int) -> bool:
    sender.send(bytes(length - HEADERS))
    try:
        return len(receiver.recv(2000)) == length - HEADERS
    except TimeoutError:
        return False


def test_a_narrow_link_says_so_to_who_sends_too_much(tmp_path: Path) -> None:
    with lab(tmp_path, "mtu = 1280") as up, pair(up) as (sender, receiver):
        assert arrives(sender, receiver, 1280)
        assert not arrives(sender, receiver, 1400)
        with pytest.raises(OSError, match="too long"):  # ICMP has told a's kernel
            sender.send(bytes(1400 - HEADERS))


def test_a_black_hole_says_nothing(tmp_path: Path) -> None:
    with lab(tmp_path, "largest = 1280") as up, pair(up) as (sender, receiver):
        assert arrives(sender, receiver, 1280)
        assert not arrives(sender, receiver, 1281)
        assert not arrives(sender, receiver, 1400)  # sent again, nobody has learned anything


def test_a_frame_can_come_twice(tmp_path: Path) -> None:
    with lab(tmp_path, "duplicate = 1") as up, pair(up) as (sender, receiver):
        assert arrives(sender, receiver, 100)
        assert len(receiver.recv(2000)) == 100 - HEADERS


@pytest.mark.parametrize("seed", [1, 2])
def test_labs_of_two_seeds_lose_different_frames(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "narrow.toml"
    file.write_text(NARROW.format(link="loss = 0.5"), encoding="utf-8")
    topology = find(str(file)).topology()

    def fates(seed: int) -> list[bool]:
        with (
            Namespaces().start(plan(topology, catalogue(), seed=seed)) as up,
            pair(up) as (sender, receiver),
        ):
            for number in range(40):
                sender.send(bytes([number]))
            came = set()
            receiver.settimeout(0.2)
            try:
                while True:
                    came.add(receiver.recv(100)[0])
            except TimeoutError:
                return [number in came for number in range(40)]

    assert fates(seed) == fates(seed)
    assert fates(seed) != fates(seed + 1)
