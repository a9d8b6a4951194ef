"""A lab's DNS server answers for its nodes, and refuses what it does not know (RFC 1035)."""

from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.cli import app
from testbed.errors import TopologyError
from testbed.lab.services.names import answer
from testbed.model.plan import ServeNames, WriteFiles
from testbed.model.presets import LIFE, find
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

SERVER = IPv4Address("29.0.0.130")
NAMES = {"server": SERVER}


def asked(name: str, kind: str = "A", rdclass: str = "IN") -> dns.message.Message:
    said = answer(NAMES, dns.message.make_query(name, kind, rdclass).to_wire())
    assert said is not None
    return dns.message.from_wire(said)


@pytest.mark.parametrize("name", ["server", "SERVER.", "server.lab", "Server.Lab."])
def test_a_nodes_name_is_answered_with_its_address(name: str) -> None:
    (found,) = asked(name).answer
    assert [one.address for one in found] == [str(SERVER)]


def test_a_name_without_such_a_record_is_there_and_a_strange_one_is_not() -> None:
    assert asked("server", "AAAA").rcode() == dns.rcode.NOERROR
    assert not asked("server", "AAAA").answer
    assert asked("nobody").rcode() == dns.rcode.NXDOMAIN
    assert asked("server", rdclass="CH").rcode() == dns.rcode.REFUSED
    assert asked("nobody").flags & dns.flags.AA


@given(st.binary(max_size=80))
def test_no_datagram_breaks_it_and_no_response_is_answered(data: bytes) -> None:
    said = answer(NAMES, data)
    assert said is None or said[:2] == data[:2]
    response = dns.message.make_response(dns.message.make_query("server", "A"))
    assert answer(NAMES, response.to_wire()) is None


def test_in_a_world_with_a_dns_server_hosts_ask_it_for_names() -> None:
    made = plan(find("dns-restart").topology(), catalogue())
    (step,) = made.of(ServeNames)
    assert step.node == "resolver"
    assert dict(step.names)["server"] == made.address("server")
    for files in made.of(WriteFiles):
        assert f"nameserver {step.address}\n" in files.resolv
        assert "server" not in files.hosts


def test_the_picture_of_a_world_says_who_answers_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app(args=["world", "show", "dns-restart"], standalone_mode=False)
    assert "resolver  answers names" in capsys.readouterr().out


def test_who_answers_names_is_on_the_internet() -> None:
    text = (LIFE / "dns-restart.toml").read_text(encoding="utf-8")
    with pytest.raises(TopologyError, match=r"mine\.toml:.*who answers names is on the internet"):
        parse(text.replace('dns = "resolver"', 'dns = "a"'), "mine", "mine.toml")
