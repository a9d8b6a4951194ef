"""What every backend promises: labs that are as planned, closed, and gone afterwards."""

import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from engine import require_engine

from testbed.errors import BackendError, UnfitError
from testbed.lab.audit import audit, require_closed
from testbed.lab.choice import Kind
from testbed.lab.choice import backend as chosen
from testbed.model.address import Route
from testbed.model.fault import Difference, LabDiffers
from testbed.model.lab import Backend, Lab
from testbed.model.plan import Engine, LoadRules, Plan
from testbed.model.presets import BARE, PRESETS, lan_party, preset, two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.words.faults import difference

CATALOGUE = catalogue()


def planned(a: str = "linux-home", b: str = "full-cone", number: int = 0) -> Plan:
    return plan(two_homes(a, b, link=BARE), CATALOGUE, number)


def _backend(kind: Kind) -> Backend:
    if kind is Kind.DOCKER:
        require_engine()
    return chosen(kind)


@pytest.fixture(params=Kind)
def backend(request: pytest.FixtureRequest) -> Backend:
    return _backend(request.param)


@pytest.fixture(scope="module", params=Kind)
def shared(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with _backend(request.param).start(planned()) as started:
        yield started


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    """One lab for many tests, each of which has to leave it as planned: six containers a test
    would cost more than all that the tests do in them."""
    yield shared
    assert audit(shared) == []


@pytest.fixture
def own_lab(backend: Backend) -> Iterator[Lab]:
    with backend.start(planned()) as started:
        yield started


def heard(lab: Lab, source: str, target: str, destination: str) -> str | None:
    """The source address that ``target`` sees of a datagram, None if it hears nothing."""
    with (
        lab.socket(target, socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        lab.socket(source, socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("", 9000))
        receiver.settimeout(0.2)
        sender.sendto(b"hello", (destination, 9000))
        try:
            return str(receiver.recvfrom(100)[1][0])
        except TimeoutError:
            return None


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_up_as_planned(name: str, backend: Backend) -> None:
    with backend.start(plan(preset(name), CATALOGUE)) as lab:
        assert audit(lab) == []


def test_a_lan_host_is_seen_from_its_routers_outside_address(lab: Lab) -> None:
    server = str(lab.plan.address("server"))
    assert heard(lab, "a", "server", server) == str(lab.plan.address("nat-a"))


def test_a_host_behind_a_firewall_is_seen_from_its_own_address(backend: Backend) -> None:
    with backend.start(planned("firewall")) as lab:
        server = str(lab.plan.address("server"))
        assert heard(lab, "a", "server", server) == str(lab.plan.address("a"))


def test_hosts_of_one_lan_reach_each_other(backend: Backend) -> None:
    with backend.start(plan(lan_party(), CATALOGUE)) as lab:
        assert heard(lab, "a", "d", str(lab.plan.address("d"))) == str(lab.plan.address("a"))


def test_no_wan_host_reaches_into_a_lan(lab: Lab) -> None:
    assert heard(lab, "server", "a", str(lab.plan.address("a"))) is None


def test_a_wan_neighbour_with_a_route_into_the_lan_is_still_refused(lab: Lab) -> None:
    inside = str(lab.plan.address("a"))
    route = [f"{inside}/32", "via", str(lab.plan.address("nat-a"))]
    lab.run("core", ["ip", "route", "add", *route])
    assert heard(lab, "server", "a", inside) is None
    lab.run("core", ["ip", "route", "del", *route])


def test_what_the_lab_does_not_know_vanishes_at_the_core(lab: Lab) -> None:
    """Nothing but loopback connects the sandbox, so this packet cannot leave either way."""
    with lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"out", ("29.255.255.1", 9))
    counters = lab.run("core", ["ip", "-s", "route", "show", "table", "main"]).decode()
    assert "blackhole default" in counters
    names = [name for _, name in socket.if_nameindex()]
    assert names == ["lo"], "the sandbox itself must have no way out"


def test_an_uplink_to_the_host_is_found(lab: Lab) -> None:
    lab.run("core", ["ip", "link", "add", "uplink", "type", "veth", "peer", "name", "outside"])
    with pytest.raises(BackendError, match="core has an unplanned interface uplink"):
        require_closed(lab)
    lab.run("core", ["ip", "link", "del", "uplink"])


def test_a_second_network_shared_by_both_peers_is_found(lab: Lab) -> None:
    lab.run("a", ["ip", "link", "add", "side", "type", "veth", "peer", "name", "side-b"])
    assert LabDiffers(Difference.UNPLANNED_INTERFACE, "a", "side") in audit(lab)
    lab.run("a", ["ip", "link", "del", "side"])


def test_a_route_from_the_internet_into_a_lan_is_found(lab: Lab) -> None:
    via = str(lab.plan.address("nat-a"))
    lab.run("core", ["ip", "route", "add", "10.0.0.0/24", "via", via])
    route = Route(IPv4Network("10.0.0.0/24"), IPv4Address(via))
    (found,) = audit(lab)
    assert found == LabDiffers(Difference.UNPLANNED_ROUTE, "core", route)
    assert difference(found) == f"core has an unplanned route to 10.0.0.0/24 via {via}"
    lab.run("core", ["ip", "route", "del", "10.0.0.0/24"])


def test_a_default_route_that_replaces_the_blackhole_is_found(own_lab: Lab) -> None:
    via = str(own_lab.plan.address("nat-a"))
    own_lab.run("core", ["ip", "route", "replace", "default", "via", via, "metric", "0"])
    assert audit(own_lab)


def test_an_interface_that_is_missing_is_found(own_lab: Lab) -> None:
    own_lab.run("a", ["ip", "link", "del", "eth0"])
    assert LabDiffers(Difference.MISSING_INTERFACE, "a", "eth0") in audit(own_lab)


def test_a_process_sees_its_nodes_names_interfaces_and_exit_code(lab: Lab) -> None:
    script = "cat /etc/hosts; cat /etc/resolv.conf; ls /sys/class/net; exit 7"
    process = lab.spawn("a", ["sh", "-c", script])
    text = process.stdout.read().decode()
    assert process.wait(5) == 7
    assert f"{lab.plan.address('server')}\tserver" in text
    assert "no resolver" in text
    assert text.split()[-2:] == ["eth0", "lo"]


def test_a_function_can_be_run_inside_a_node(lab: Lab) -> None:
    def names() -> int:
        print([name for _, name in socket.if_nameindex()])
        return 3

    process = lab.spawn("b", names)
    assert process.stdout.read() == b"['lo', 'eth0']\n"
    assert process.wait(5) == 3


def test_a_program_that_is_not_there_says_so(lab: Lab) -> None:
    process = lab.spawn("a", ["no-such-program"])
    assert process.wait(5) == 127
    assert b"no-such-program" in process.stderr.read()
    with pytest.raises(UnfitError, match="not installed"):
        lab.run("a", ["no-such-program"])


def test_an_unknown_node_is_refused_with_the_known_ones(lab: Lab) -> None:
    with pytest.raises(BackendError, match="one of: core, nat-a, nat-b, a, b, server"):
        lab.socket("nobody", socket.AF_INET, socket.SOCK_DGRAM)


def test_a_program_that_hangs_is_ended_at_its_deadline(lab: Lab) -> None:
    with pytest.raises(BackendError, match=r"did not end within 0\.1 s"):
        lab.run("a", ["sleep", "100"], timeout=0.1)


def test_rules_that_do_not_load_name_the_router_and_leave_nothing(backend: Backend) -> None:
    steps = planned()
    broken = tuple(
        LoadRules(step.node, Engine.NFTABLES, "nonsense") if isinstance(step, LoadRules) else step
        for step in steps.steps
    )
    before = open_files()
    with (
        pytest.raises(UnfitError, match=r"\[nat-a\].*syntax error"),
        backend.start(Plan(**(vars(steps) | {"steps": broken}))),
    ):
        pass
    assert open_files() == before


def test_leaving_the_lab_ends_its_processes_and_closes_everything(backend: Backend) -> None:
    before = open_files()
    with backend.start(planned()) as lab:
        process = lab.spawn("a", ["sleep", "1000"])
        assert process.poll() is None
    assert process.poll() is not None
    assert open_files() == before


@pytest.mark.parametrize("then", ["wait", "exit 3"])
def test_what_a_process_started_ends_with_it(then: str, lab: Lab) -> None:
    process = lab.spawn("a", ["sh", "-c", f"sleep 1000 & echo started; {then}"])
    assert process.stdout.read(8) == b"started\n"
    if then == "wait":
        process.kill()
    assert process.wait(10.0) == (-signal.SIGKILL if then == "wait" else 3)
    assert select.select([process.stdout], [], [], 10.0)[0], "somebody still holds its pipe"
    assert process.stdout.read(1) == b""


def test_an_exception_in_the_lab_takes_it_down_too(backend: Backend) -> None:
    before = open_files()

    def broken() -> None:
        with backend.start(planned()) as lab:
            lab.spawn("a", ["sleep", "1000"])
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        broken()
    assert open_files() == before


def test_labs_side_by_side_do_not_see_each_other(backend: Backend) -> None:
    with ExitStack() as stack:
        labs = [stack.enter_context(backend.start(planned(number=n))) for n in (1, 2)]
        for lab, other in (labs, labs[::-1]):
            server = str(lab.plan.address("server"))
            assert heard(lab, "a", "server", server) == str(lab.plan.address("nat-a"))
            foreign = str(other.plan.address("server"))
            assert heard(lab, "a", "server", foreign) is None


def test_the_internet_is_20_ms_wide(backend: Backend) -> None:
    with (
        backend.start(plan(two_homes(), CATALOGUE)) as lab,
        lab.socket("server", socket.AF_INET, socket.SOCK_DGRAM) as server,
        lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("", 9000))
        server.settimeout(2)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            client.sendto(b"x", (str(lab.plan.address("server")), 9000))
            server.recv(10)
            times.append((time.perf_counter() - start) * 1e3)
    assert 20 <= sorted(times)[0] < 25


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
