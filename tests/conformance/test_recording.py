"""What a run leaves behind is what happened: flows, drop counters, and what is said to be lost."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.capture import flows
from testbed.capture.drops import drops, saved
from testbed.capture.flows import FlowRecorder
from testbed.capture.reader import read
from testbed.lab.namespaces import Namespaces
from testbed.model.gap import NoEvents, Unheard
from testbed.model.journey import Change
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint, Packet
from testbed.model.plan import Engine, LoadRules
from testbed.model.presets import preset
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.run.recording import Records, record_run
from testbed.studies.punch.attempt import Account

CATALOGUE = catalogue()
ENGINES = {Engine.IPTABLES: "linux-home", Engine.NFTABLES: "symmetric"}
NOTHING = Account((), None, None, (), None)
PORT, STRANGERS = 4001, 37
DEADLINE = 5.0
EVENTS = "/proc/sys/net/netfilter/nf_conntrack_events"


@contextmanager
def two_homes(profile: str) -> Iterator[Lab]:
    with Namespaces().start(plan(preset("two-homes", profile, profile), CATALOGUE)) as lab:
        yield lab


def udp(lab: Lab, node: str, port: int) -> socket.socket:
    made = lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(DEADLINE)
    made.bind((str(lab.plan.address(node)), port))
    return made


def crossing(lab: Lab) -> Endpoint:
    """Send out of a's NAT, and give the endpoint that the server saw."""
    with udp(lab, "a", PORT) as inside, udp(lab, "server", PORT) as server:
        inside.sendto(b"let me see", (str(lab.plan.address("server")), PORT))
        address, port = server.recvfrom(100)[1]
    (owned,) = [one for one in lab.plan.addresses["nat-a"] if str(one) == address]
    return Endpoint(owned, port)


def recorded(lab: Lab, folder: Path, work: Callable[[], object]) -> Records:
    def run() -> Account:
        work()
        return NOTHING

    return record_run(lab, folder, run)[1]


@pytest.mark.parametrize("profile", ENGINES.values())
def test_the_events_show_the_mapping_that_others_see(profile: str, tmp_path: Path) -> None:
    seen = []
    with two_homes(profile) as lab:
        records = recorded(lab, tmp_path, lambda: seen.append(crossing(lab)))
        inside = Endpoint(lab.plan.address("a"), PORT)
    assert records.gaps == ()
    assert records.flows is not None
    (mapped,) = [one for one in records.flows if one.node == "nat-a" and one.change is Change.NEW]
    assert mapped.original[0] == inside
    assert mapped.reply[1] == seen[0]
    packets = read(tmp_path / "capture.pcapng")
    (left,) = [p for p in packets if p.vantage == "nat-a:wan" and p.source == seen[0]]
    assert abs(left.time_ns - mapped.time_ns) < 5e6  # confirmed as it left, by one clock


def test_a_kernel_that_sends_no_events_is_not_taken_for_peace(tmp_path: Path) -> None:
    with two_homes("linux-home") as lab:
        lab.run("nat-a", ["sh", "-c", f"echo 0 > {EVENTS}"])
        records = recorded(lab, tmp_path, lambda: crossing(lab))
    assert records.flows is None
    assert records.gaps == (NoEvents("nat-a", Unheard.SILENT, 1),)
    assert not (tmp_path / "conntrack.jsonl").exists()


def test_events_that_overflow_are_said_to_be_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(flows, "_BUFFER", 4096)
    file = tmp_path / "conntrack.jsonl"
    with two_homes("linux-home") as lab, FlowRecorder(lab.socket, ["nat-a"], file) as recorder:
        server = str(lab.plan.address("server"))
        with udp(lab, "a", PORT) as inside:
            for port in range(1, 100):
                inside.sendto(b"another flow", (server, port))
        crossing(lab)  # which comes last
        (gap,) = recorder.finish()
    assert gap == NoEvents("nat-a", Unheard.OVERFLOWED)
    assert not file.exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_counter_is_the_number_of_packets_that_vanished(engine: Engine, tmp_path: Path) -> None:
    profile = ENGINES[engine]
    assert CATALOGUE[profile].engine is engine
    with two_homes(profile) as lab:
        before = drops(lab, "nat-a")
        target = lab.plan.address("nat-a")

        def knock() -> None:
            with udp(lab, "server", PORT) as server:
                for _ in range(STRANGERS):
                    server.sendto(b"knock", (str(target), PORT))
            _await(lambda: drops(lab, "nat-a")["unsolicited"] == STRANGERS)

        records = recorded(lab, tmp_path, knock)
    assert set(before.values()) == {0}
    assert records.drops is not None
    assert records.drops["nat-a"] == before | {"unsolicited": STRANGERS}
    assert set(records.drops["nat-b"].values()) == {0}
    assert json.loads((tmp_path / "drops.json").read_text()) == records.drops
    packets = read(tmp_path / "capture.pcapng")
    knocks = [p for p in packets if p.payload == b"knock"]
    assert sum(p.vantage == "nat-a:wan" for p in knocks) == STRANGERS
    assert not any(_inside(p) for p in knocks)


def _inside(packet: Packet) -> bool:
    return packet.vantage in ("nat-a:lan", "a:eth0")


@pytest.mark.parametrize("profile", CATALOGUE)
def test_every_reason_that_a_profiles_rules_give_is_counted(profile: str) -> None:
    steps = plan(preset("two-homes", profile, "linux-home"), CATALOGUE)
    (rules,) = [step.text for step in steps.of(LoadRules) if step.node == "nat-a"]
    words = {word for word in rules.split('"') if f'comment "{word}"' in rules}
    with Namespaces().start(steps) as lab:
        assert set(drops(lab, "nat-a")) == words


def test_the_words_of_iptables_save_say_the_same_as_netlink() -> None:
    with two_homes("linux-home") as lab:
        text = lab.run("nat-a", ["iptables-save", "-c", "-t", "filter"]).decode()
        told = dict.fromkeys(reason for reason, _ in saved(text))
        assert list(told) == list(drops(lab, "nat-a"))
    line = "[12:960] -A UNSOLICITED -p udp -m comment --comment unsolicited -j REJECT --reject-with"
    assert list(saved(line)) == [("unsolicited", 12)]


def _await(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
