"""A mesh: which pairs there are, whose a packet is, and what the command refuses."""

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from made_results import document, result
from made_worlds import World

from testbed.cli.cell_words import MeshWords
from testbed.cli.commands.meshes import MeshRequest
from testbed.errors import UsageError
from testbed.evidence.sharing import Shares, shares
from testbed.evidence.stitch import stitch
from testbed.lab.sockets import sockets_of
from testbed.model.address import Socket
from testbed.model.journey import Change, FlowEvent
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint, Packet, Quoted
from testbed.model.presets import FOLDER, find
from testbed.model.profile import Profile
from testbed.model.topology import Order
from testbed.plan.planner import plan
from testbed.report.grid import grid
from testbed.report.markdown import summary
from testbed.run.mesh import deadline_of
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.folder import load_cell, save_cell
from testbed.studies.punch.meeting import meetings

MESH = find("mesh-12").topology()


def asked(
    world: str = "mesh-12", peer: str | None = "punch-udp", own: tuple[str, ...] = (), **more: Any
) -> MeshRequest:
    words = MeshWords(world=world, peer=peer, certify=False, out=Path("out"), **more)
    return MeshRequest(words, own)


def cells(world: str = "mesh-12", **more: Any) -> tuple[list[Cell], dict[str, Profile]]:
    return asked(world, **more).cells()


# -- which pairs


def test_each_meets_each_once_and_who_is_named_earlier_dials() -> None:
    pairs = [(one.dialer, one.listener) for one in meetings(MESH, Order.AT_ONCE)]
    assert pairs == list(combinations(MESH.roles.peers, 2))
    assert len(pairs) == 66


def test_no_two_processes_of_a_mesh_listen_on_one_port() -> None:
    ports = [port for one in meetings(MESH, Order.AT_ONCE) for port in one.ports]
    assert len(set(ports)) == len(ports) == 132
    assert not set(ports) & {MESH.port(host.name) for host in MESH.hosts}


def test_the_pairs_of_a_lab_share_its_plan_and_neither_session_nor_folder() -> None:
    some, profiles = cells(select=("ann--*",))
    one, *others = (plan(cell.build(), profiles, 0, cell.seed) for cell in some)
    assert all((one.steps, one.addresses) == (other.steps, other.addresses) for other in others)
    assert len({cell.lab for cell in some}) == 1
    assert len({cell.words for cell in some}) == len({cell.name for cell in some}) == 11


def test_each_repetition_has_a_lab_of_its_own() -> None:
    some, _ = cells(select=("ann--ben", "ann--cat"), repeat=2)
    assert [cell.lab for cell in some] == ["mesh-12/0"] * 2 + ["mesh-12/1"] * 2
    assert len({cell.seed for cell in some}) == 2


def test_a_pair_is_predicted_by_its_own_nats_whoever_else_there_is() -> None:
    some, profiles = cells(select=("cat--dan", "ann--dan", "cat--kim"))
    found = {cell.meeting.name: prediction(cell, profiles).outcome for cell in some if cell.meeting}
    assert found == {
        "ann--dan": Outcome.DIRECT,  # a full cone lets the symmetric NAT's new port in
        "cat--dan": Outcome.NONE,
        "cat--kim": Outcome.NONE,
    }


def test_the_folder_of_a_pair_says_which_pair_of_which_world_it_is(tmp_path: Path) -> None:
    (cell,), profiles = cells(select=("eve--gus",), order=Order.IN_TURN, seed=3)
    save_cell(cell, profiles, tmp_path, 7, {})
    again, kept, number = load_cell(tmp_path)
    assert (again, number) == (cell, 7)
    assert (again.roles.a, again.roles.b) == ("eve", "gus")
    assert kept.keys() == {router.profile for router in MESH.routers}


def test_a_damaged_pair_is_refused_by_its_file(tmp_path: Path) -> None:
    (cell,), profiles = cells(select=("eve--gus",))
    save_cell(cell, profiles, tmp_path, 0, {})
    file = tmp_path / "cell.json"
    file.write_text(file.read_text().replace('"at_once"', '"whenever"'))
    with pytest.raises(UsageError, match=r"cell\.json: not a cell that can be run again"):
        load_cell(tmp_path)


def test_pairs_in_turn_may_take_the_sum_of_their_times() -> None:
    some, _ = cells(order=Order.IN_TURN)
    at_once, _ = cells()
    assert deadline_of(some) > 10 * deadline_of(at_once)


# -- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"world": "two-homes"}, "two-homes has no mesh"),
        ({"select": ("ann--zoe",)}, "matches no pair"),
        ({"at": ("zoe=ice",)}, "zoe is no host in mesh-12"),
        ({"at": ("ann",)}, "HOST=STACK is needed"),
        ({"at": ("ann=ice",)}, "ann and ben do not understand each other"),
        ({"at": ("ann=nobody",)}, "unknown peer 'nobody'"),
        ({"a": "pf"}, "-a has no effect"),
    ],
)
def test_a_word_that_no_mesh_has_is_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(**words).cells()


@pytest.mark.parametrize(("quota", "refused"), [(10, True), (11, False)])
def test_a_nat_that_has_too_few_mappings_for_all_pairs_is_refused(
    quota: int, refused: bool, tmp_path: Path
) -> None:
    """Each pair of leo's wants one; by itself each would have it."""
    grade = (FOLDER.parents[1] / "nat-profiles" / "carrier-grade.toml").read_text()
    (tmp_path / "small.toml").write_text(grade.replace("quota = 64", f"quota = {quota}"))
    mesh = tmp_path / "mine.toml"
    mesh.write_text(
        find("mesh-12").text.replace('profile = "carrier-grade"', 'profile = "small"\noption = "a"')
    )
    request = asked(str(mesh), a=str(tmp_path / "small.toml"))
    if not refused:
        assert len(request.cells()[0]) == 66
        return
    with pytest.raises(UsageError, match=r"nat-leo has 10 UDP mappings for leo.* want 11"):
        request.cells()


def test_a_port_of_a_peer_has_no_effect_and_is_refused(tmp_path: Path) -> None:
    text = find("mesh-12").text.replace("[hosts.dan]\n", "[hosts.dan]\nport = 4500\n")
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"hosts\.dan\.port has no effect"):
        asked(str(file)).cells()


# -- whose a packet is

SERVER_PORT = 3478


class Wire:
    """Packets of a lab of two homes, made by hand; each process has a port."""

    def __init__(self) -> None:
        self.world = World("two-homes")
        self.packets: list[Packet] = []
        self._ids = 0

    def sends(
        self, source: str, target: str, ports: tuple[int, int], *, until: int | None = None
    ) -> list[Packet]:
        """One datagram from a port of a host to one of another; ``until`` so many sights."""
        self._ids += 1
        for host, port in zip((source, target), ports, strict=True):
            self.world.here[host] = Endpoint(self.world.plan.address(host), port)
        ttl, found = 64, []
        way = self.world.way(source, target)
        for vantage, outgoing, sent, got, _ in way[:until]:
            ttl -= outgoing and vantage != way[0][0]
            found.append(self.seen(vantage, outgoing, (sent, got), ttl))
        return found

    def seen(
        self, vantage: str, outgoing: bool, ends: tuple[Endpoint, Endpoint], ttl: int, **more: Any
    ) -> Packet:
        number = len(self.packets) + 1
        mac = b"" if outgoing else self.world.macs[vantage]
        text = b"%d" % self._ids
        packet = Packet(
            number, vantage, number, outgoing, 0x0800, "udp", *ends, ttl, self._ids, 0, 0, 0,
            None, None, None, text, 60, mac.ljust(60, b"\0"),
        )  # fmt: skip
        self.packets.append(replace(packet, **more))
        return self.packets[-1]

    def shared(self, sockets: dict[Socket, set[int]]) -> Shares:
        steps = self.world.plan
        return shares(self.packets, stitch(self.packets, steps), steps, sockets)


def numbers(packets: Sequence[Packet]) -> list[int]:
    return [packet.number for packet in packets]


TWO_PAIRS = {
    Socket("a", "udp", 20001): {0},
    Socket("b", "udp", 20002): {0},
    Socket("a", "udp", 20003): {1},
    Socket("b", "udp", 20004): {1},
}


def test_a_packet_is_of_the_pair_whose_sockets_are_at_its_ends() -> None:
    wire = Wire()
    first = wire.sends("a", "b", (20001, 20002))
    second = wire.sends("b", "a", (20004, 20003))
    shared = wire.shared(TWO_PAIRS)
    assert numbers(shared.packets[0]) == numbers(first)
    assert numbers(shared.packets[1]) == numbers(second)


def test_what_the_shared_server_sends_is_of_the_pair_that_it_comes_to() -> None:
    wire = Wire()
    asked_first = wire.sends("a", "server", (20001, SERVER_PORT))
    wire.sends("a", "server", (20003, SERVER_PORT))
    answered = wire.sends("server", "a", (SERVER_PORT, 20001))
    dropped = wire.sends("server", "a", (SERVER_PORT, 20001), until=4)
    shared = wire.shared(TWO_PAIRS)
    assert numbers(shared.packets[0]) == numbers([*asked_first, *answered, *dropped])


def test_a_packet_from_one_pair_to_another_is_of_both() -> None:
    wire = Wire()
    stray = wire.sends("a", "b", (20001, 20004))
    shared = wire.shared(TWO_PAIRS)
    assert numbers(shared.packets[0]) == numbers(shared.packets[1]) == numbers(stray)


def test_a_packet_of_a_socket_that_nobody_was_seen_to_have_may_be_of_any_pair_of_its_host() -> None:
    wire = Wire()
    odd = wire.sends("a", "server", (5351, SERVER_PORT))
    sockets = {**TWO_PAIRS, Socket("b", "udp", 20006): {2}}
    shared = wire.shared(sockets)
    assert numbers(shared.packets[0]) == numbers(shared.packets[1]) == numbers(odd)
    assert 2 not in shared.packets


def test_what_a_relay_sends_is_of_the_pair_that_its_port_was_given_to() -> None:
    wire = Wire()
    wire.sends("b", "server", (20002, 49152))
    lost = wire.sends("server", "a", (49152, 9), until=3)
    shared = wire.shared(TWO_PAIRS)
    assert set(numbers(lost)) <= set(numbers(shared.packets[0]))
    assert not shared.packets.get(1)


def test_an_icmp_error_is_of_the_pair_whose_packet_it_quotes() -> None:
    wire = Wire()
    sent = wire.sends("b", "a", (20004, 20003), until=5)
    last = sent[-1]
    quoted = Quoted("udp", last.source, last.destination, last.ip_id)
    router = Endpoint(last.destination.address, 0)
    error = wire.seen(
        "nat-a:wan",
        True,
        (router, Endpoint(last.source.address, 0)),
        64,
        protocol="icmp",
        icmp_type=3,
        icmp_code=3,
        quoted=quoted,
    )
    shared = wire.shared(TWO_PAIRS)
    assert error.number in numbers(shared.packets[1])
    assert not shared.packets.get(0)


def test_a_flow_of_conntrack_is_of_the_pair_whose_packets_it_was_made_by() -> None:
    wire = Wire()
    first = wire.sends("a", "b", (20001, 20002))
    wire.sends("a", "b", (20003, 20004))
    shared = wire.shared(TWO_PAIRS)
    inward = next(one for one in first if one.vantage == "nat-a:lan")
    ends = (inward.source, inward.destination)
    event = FlowEvent("nat-a", 1, Change.NEW, "udp", ends, ends[::-1])
    foreign = replace(event, original=(Endpoint(IPv4Address("10.9.9.9"), 1), inward.destination))
    foreign = replace(foreign, reply=foreign.original[::-1])
    assert shared.flows(0, [event, foreign]) == (event,)
    assert shared.flows(1, [event, foreign]) == ()


def test_the_kernel_says_which_sockets_a_process_has() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        other.listen()
        mine = {
            Socket("a", "udp", one.getsockname()[1]),
            Socket("a", "tcp", other.getsockname()[1]),
        }
        assert mine <= sockets_of("a", os.getpid())
    assert not mine & sockets_of("a", os.getpid())


def test_a_process_that_has_ended_has_no_sockets() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert sockets_of("a", child.pid) == set()


# -- reports


def met(dialer: str, listener: str, stack: str = "punch-udp", **more: Any) -> Any:
    name = f"mesh-12/{stack}/{dialer}--{listener}"
    labels = {"dialer": dialer, "listener": listener, "stack": stack, "topology": "mesh-12"}
    found = result(**{"profiles": ["pf", "pf"], **more})
    return found.model_copy(
        update={"name": f"{name}/0", "group": name, "labels": {**labels, "mode": "punch"}}
    )


def test_the_grid_of_a_mesh_has_its_hosts_whatever_they_run_and_stand_behind() -> None:
    from rich.console import Console

    rows = [met("ann", "ben"), met("ann", "cat", "a+b"), met("ben", "cat", measured="none")]
    console = Console(width=100, record=True)
    console.print(grid(document(rows), 1.0, 100))
    text = console.export_text()
    assert text.count("mesh-12: who got through") == 1
    assert [line.split()[1] for line in text.splitlines() if "│ direct" in line] == ["ann"]
    assert "ann" in summary(document(rows))
    assert "pf" not in summary(document(rows)).split("who got through")[1]
