"""A program of a lab that dies, is stopped or falls silent is noticed, however it ends up."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ServiceError, StarvedServiceError
from testbed.lab import kernel
from testbed.lab.isolation.confine import Place
from testbed.lab.netlink import Netlink
from testbed.lab.process import NodeProcess, spawn
from testbed.lab.rtnetlink import up
from testbed.lab.services import watch
from testbed.lab.services.watch import Beginning, Question, served, watched
from testbed.model.failure import fault_of
from testbed.model.fault import Ending, ServiceFailed
from testbed.words import sentence

PLACE = ("127.0.0.1", 4001)
QUESTION = Question("it", socket.SOCK_DGRAM, PLACE, b"?", b"ok?")


class Here:
    """As much of a lab as a watch needs: one node, with a loopback alone."""

    def __init__(self) -> None:
        self.failed: list[ServiceFailed] = []
        self.home = kernel.current_netns()
        kernel.unshare(kernel.CLONE_NEWNET)
        netlink = Netlink("server")
        netlink.send([up(1)])
        netlink.close()
        self.netns = kernel.current_netns()
        kernel.setns(self.home, kernel.CLONE_NEWNET)

    def socket(self, _node: str, family: int, kind: int, proto: int = 0) -> socket.socket:
        with kernel.inside_netns(self.netns, self.home):
            return socket.socket(family, kind, proto)

    def failed_services(self) -> list[ServiceFailed]:
        return self.failed


def _serve() -> int:
    """Answers each datagram with itself, and says by a line that it does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(PLACE)
        os.write(1, b"here\n")
        while True:
            data, source = sock.recvfrom(2048)
            if data == b"be silent":
                time.sleep(600)
            sock.sendto(b"ok" + data, source)


@pytest.fixture
def lab() -> Iterator[Here]:
    here = Here()
    yield here
    os.close(here.home)
    os.close(here.netns)


@pytest.fixture
def process(lab: Here) -> Iterator[NodeProcess]:
    found = spawn(_serve, Place("server", lab.netns, None))
    assert found.stdout.readline()
    yield found
    found.close()


def _await(process: NodeProcess, happened: Callable[[str], bool]) -> None:
    """Until the kernel shows ``process`` in such a state."""
    end = time.monotonic() + 5.0
    told = Path(f"/proc/{process.pid}/stat")
    while not happened(told.read_text(encoding="utf-8").rpartition(") ")[2][0]):
        assert time.monotonic() < end
        time.sleep(0.001)


def killed(_lab: Here, process: NodeProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait(5.0)


def stopped(_lab: Here, process: NodeProcess) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    _await(process, lambda state: state == "T")


def stopped_for_a_while(lab: Here, process: NodeProcess) -> None:
    stopped(lab, process)
    os.kill(process.pid, signal.SIGCONT)
    _await(process, lambda state: state != "T")


def hung(lab: Here, _process: NodeProcess) -> None:
    with lab.socket("server", socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"be silent", PLACE)


HARMS: dict[Callable[[Here, NodeProcess], None], Ending] = {
    killed: Ending.DIED,
    stopped: Ending.STOPPED,
    stopped_for_a_while: Ending.STOPPED,
    hung: Ending.SILENT,
}


@pytest.mark.parametrize(
    ("harm", "ending"), HARMS.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_befalls_a_service_is_noted(
    harm: Callable[[Here, NodeProcess], None],
    ending: Ending,
    lab: Here,
    process: NodeProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.2)
    with watched(lab, "server", "a service", process, (QUESTION,)):
        harm(lab, process)
    assert lab.failed == [ServiceFailed("server", "a service", ending)]


def test_a_service_that_serves_to_the_end_has_not_failed(lab: Here, process: NodeProcess) -> None:
    with watched(lab, "server", "a service", process, (QUESTION,)):
        pass
    assert lab.failed == []


def test_a_service_that_the_harness_itself_ends_has_not_failed(
    lab: Here, process: NodeProcess
) -> None:
    with watched(lab, "server", "a service", process, (QUESTION,)):
        process.kill()
    assert lab.failed == []


def test_a_service_that_failed_is_the_reason_whatever_else_went_wrong(lab: Any) -> None:
    lab.failed.append(ServiceFailed("server", "coturn", Ending.DIED))
    words = r"lab \[server\]: coturn failed before its end: it died"
    with pytest.raises(ServiceError, match=words) as raised, served(lab):
        raise TimeoutError("a peer missed its deadline")
    assert isinstance(raised.value.__context__, TimeoutError)


# -- who does not get ready


class Waiting:
    """A process that so much of all time since it began had no processor; None: it has ended."""

    def __init__(self, share: float | None) -> None:
        self.share, self.since = share, time.monotonic_ns()

    def waited_ns(self) -> int | None:
        return None if self.share is None else int(self.share * (time.monotonic_ns() - self.since))


def unready(process: Any) -> Any:
    beginning = Beginning("server", "coturn", process)
    time.sleep(0.01)
    return beginning.unready("address already in use", "free the port")


@pytest.mark.parametrize("share", [0.0, 0.3, None])
def test_a_service_that_had_its_processor_and_is_not_ready_has_failed_itself(
    share: float | None,
) -> None:
    error = unready(Waiting(share))
    assert not error.crowded
    failed = ServiceFailed("server", "coturn", Ending.UNREADY, "address already in use")
    assert fault_of(error) == failed
    assert "coturn at server was not ready in time: address already in use" in sentence(failed)


def test_a_service_that_had_no_processor_is_not_blamed() -> None:
    error = unready(Waiting(0.9))
    assert isinstance(error, StarvedServiceError)
    assert error.crowded
    assert "too busy" in str(error)


def test_a_service_that_cannot_have_its_port_is_no_matter_of_the_machine(lab: Any) -> None:
    """The real thing: it ends with an error, as the port is somebody else's."""
    with lab.socket("server", socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(PLACE)
        process = spawn(_serve, Place("server", lab.netns, None))
        try:
            beginning = Beginning("server", "a service", process)
            process.wait(5.0)
            assert isinstance(beginning.unready(), ServiceError)
        finally:
            process.close()
