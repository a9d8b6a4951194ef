"""Close and flush over links that lose frames, in a lab: all bytes, or a typed error."""

import json
import select
import time
from typing import Any

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab, Process
from testbed.model.topology import INTERNET, Host, Link, Network, Scope, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

from . import lossy_end

pytestmark = pytest.mark.timeout(120)
SECONDS = 25.0
LISTEN = {"tcp": "/ip4/{}/tcp/4001", "udp": "/ip4/{}/udp/4001/quic-v1"}


def lossy(loss: float) -> Topology:
    link = Link.both(delay_ms=5.0, loss=loss)
    hosts = (Host("a", INTERNET, link=link), Host("b", INTERNET, link=link))
    return Topology("lossy", (Network(INTERNET, Scope.PUBLIC),), (), hosts)


def line(process: Process, timeout: float) -> dict[str, Any]:
    deadline, buffer = time.monotonic() + timeout, b""
    while b"\n" not in buffer:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([process.stdout], [], [], left)[0], "the program is silent"
        data = process.stdout.read(65536)
        assert data, process.stderr.read().decode()[-2000:]
        buffer += data
    answer: dict[str, Any] = json.loads(buffer.split(b"\n", 1)[0])
    return answer


def transfers(lab: Lab, transport: str) -> dict[str, Any]:
    listen = LISTEN[transport].format(lab.plan.address("b"))
    there = lab.spawn("b", lambda: lossy_end.main("serve", listen))
    address = line(there, 20)["address"]
    here = lab.spawn("a", lambda: lossy_end.main("ask", address, 200, SECONDS))
    return line(here, SECONDS + 70)


@pytest.mark.parametrize("loss", [0.02, 0.08])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_over_a_lossy_link_all_arrives_or_an_error_says_so(transport: str, loss: float) -> None:
    with Namespaces().start(plan(lossy(loss), catalogue(), 0)) as lab:
        told = transfers(lab, transport)
    assert not told["broken"], told
    assert told["done"] >= 5, told
