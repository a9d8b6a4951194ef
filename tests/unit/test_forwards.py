"""What a world forwards is in the rules, in the model of the NAT, and in what is certified."""

from dataclasses import replace
from textwrap import dedent

import pytest

from testbed.errors import ProfileError, TopologyError
from testbed.model.behaviour import Forward, Protocol
from testbed.model.furnishing import furnished, nats
from testbed.model.plan import LoadRules
from testbed.model.topology import PortForward, Topology
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

CATALOGUE = catalogue()
OFFICE = """\
title = "A server behind two routers, whose ports are forwarded"
source = "none: an example"

[networks]
office = "private"
rack = "private"

[routers.box]
wan = "internet"
lan = "office"
profile = "port-restricted"
option = "a"

[routers.box.forwards]
"tcp/8443" = "inner:443"
"udp/50000-50002" = "desk:6000"

[routers.inner]
wan = "office"
lan = "rack"
profile = "linux-home"

[routers.inner.forwards]
"tcp/443" = "server"

[hosts.desk]
network = "office"

[hosts.server]
network = "rack"
"""


def office(text: str = OFFICE, profile: str = "port-restricted") -> Topology:
    return parse(dedent(text), "office", "office.toml").topology("office", (profile,))


def test_a_line_of_the_file_is_a_forward_for_each_port() -> None:
    assert office().routers[0].forwards == (
        PortForward(Protocol.TCP, 8443, "inner", 443),
        *(PortForward(Protocol.UDP, 50000 + n, "desk", 6000 + n) for n in range(3)),
    )


def test_the_nodes_of_a_lan_are_counted_alike_by_rules_and_model() -> None:
    box = furnished(office(), CATALOGUE)["box"].behaviour
    assert box.forwards[0] == Forward(Protocol.TCP, 8443, 0, 443)
    assert box.forwards[1] == Forward(Protocol.UDP, 50000, 1, 6000)
    made = plan(office(), CATALOGUE)
    rules = next(step.text for step in made.of(LoadRules) if step.node == "box")
    assert f"tcp dport 8443 dnat ip to {made.address('inner')} : 443" in rules
    assert f"udp dport 50002 dnat ip to {made.address('desk')} : 6002" in rules


def test_a_nat_with_forwards_of_the_world_is_certified_beside_its_profile() -> None:
    found = nats(office(), CATALOGUE)
    assert set(found) == {"port-restricted.office.box", "linux-home.office.inner"}
    box = found["port-restricted.office.box"].behaviour
    assert [forward.host for forward in box.forwards] == [0, 1, 1, 1]
    plain = replace(office(), routers=tuple(replace(r, forwards=()) for r in office().routers))
    assert set(nats(plain, CATALOGUE)) == {"port-restricted", "linux-home"}


def test_the_bench_has_no_more_than_two_hosts_to_forward_to() -> None:
    text = OFFICE.replace('"tcp/8443" = "inner:443"', '"tcp/8443" = "desk"\n"tcp/1" = "third"')
    text = text.replace('"udp/50000-50002" = "desk:6000"', '"udp/2" = "inner"')
    found = nats(office(text + '\n[hosts.third]\nnetwork = "office"\n'), CATALOGUE)
    hosts = [f.host for f in found["port-restricted.office.box"].behaviour.forwards]
    assert hosts == [0, 1, 1]


@pytest.mark.parametrize("profile", ["firewall", "port-forward"])
def test_a_profile_that_cannot_forward_so_is_refused(profile: str) -> None:
    text = OFFICE.replace("tcp/8443", "tcp/4001")
    with pytest.raises(ProfileError, match="the world forwards"):
        plan(office(text, profile), CATALOGUE)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"tcp/0" = "inner"', "port 0: 1 to 65535"),
        ('"tcp/70000" = "inner"', "port 70000: 1 to 65535"),
        ('"tcp/9-8" = "inner"', "from the first port to the last"),
        ('"tcp/1000-2000" = "inner"', "64 at most"),
        ('"tcp/9" = "inner:0"', "port 0: 1 to 65535"),
        ('"tcp/8-9" = "inner:65535"', "the last port inside is 65536"),
        ('"sctp/9" = "inner"', "forwards"),
        ('"tcp/9" = "in ner"', "forwards"),
        ('"tcp/9" = "server"', "'server' is not on its LAN; one of: inner, desk"),
        ('"udp/50002" = "inner"', "a port of it is forwarded already"),
    ],
)
def test_a_forward_that_cannot_be_is_refused_with_its_line(line: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said) as caught:
        office(OFFICE.replace('"tcp/8443" = "inner:443"', line))
    assert caught.value.message.startswith(("office.toml:15:", "office.toml:16:"))
