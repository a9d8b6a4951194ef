"""The peers and coturn on real labs: what they claim here is true, and in bounded time."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path as FilePath

import pytest
from built import built

from testbed.errors import BackendError, UnfitError
from testbed.lab.namespaces import Namespaces
from testbed.model import presets
from testbed.model.contract import (
    Closed,
    Configure,
    Connected,
    Dial,
    Echo,
    Echoed,
    Endpoint,
    Event,
    Failed,
    FailureClass,
    Mode,
    Observed,
    Offered,
    Options,
    Path,
    Reserved,
    Role,
    Transport,
    TurnServer,
)
from testbed.model.lab import Lab, Process
from testbed.model.topology import INTERNET, Host, Network, Scope, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.stacks import ice
from testbed.stacks.client import PeerClient, wait_all
from testbed.stacks.coturn import HTTPS_PORT, PORT, Coturn, coturn
from testbed.stacks.registry import ADAPTERS, Adapter
from testbed.stacks.session import serve

HEAD_START = 50_000_000  # nanoseconds until both sides start
ECHO_BYTES = 20_000
WITH_COTURN = built(name for name, adapter in ADAPTERS.items() if "stun" in adapter.needs)
WITH_TURN = built(name for name, adapter in ADAPTERS.items() if "turn" in adapter.needs)
PUNCHERS = ("punch-udp", "punch-tcp")

ALL_PUBLIC = Topology(
    "all-public",
    networks=(Network(INTERNET, Scope.PUBLIC),),
    routers=(),
    hosts=(Host("a", INTERNET), Host("b", INTERNET), Host("server", INTERNET, addresses=2)),
)


@dataclass(frozen=True)
class Outcome:
    """What the two peers said at the end of a dial: the dialer first."""

    ends: list[Event]
    clients: list[PeerClient]
    seconds: float  # from the start of the dial to its end

    @property
    def paths(self) -> list[Path | FailureClass]:
        return [
            end.path if isinstance(end, Connected) else end.failure
            for end in self.ends
            if isinstance(end, (Connected, Failed))
        ]

    def said(self, kind: type[Event]) -> list[list[Event]]:
        return [[e for e in client.events if isinstance(e, kind)] for client in self.clients]


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


@contextmanager
def served(topology: Topology) -> Iterator[Lab]:
    """A lab with coturn on ``server``."""
    with Namespaces().start(plan(topology, catalogue())) as lab:
        config = Coturn(lab.plan.addresses["server"])
        with coturn(lab, "server", config):
            yield lab


@pytest.fixture(scope="module")
def public() -> Iterator[Lab]:
    with served(ALL_PUBLIC) as lab:
        yield lab


def configure(lab: Lab, node: str, adapter: Adapter, role: Role, options: Options) -> Configure:
    server = lab.plan.address("server")
    config = Coturn((server,))
    turn = TurnServer(
        server=Endpoint(address=server, port=HTTPS_PORT),
        transport=Transport.TCP,
        username=config.username,
        password=config.password,
    )
    return Configure(
        version=2,
        role=role,
        transport=Transport(adapter.transport),
        local_address=lab.plan.address(node),
        port=lab.plan.port(node),
        stun=Endpoint(address=server, port=PORT) if "stun" in adapter.needs else None,
        turn=turn if "turn" in adapter.needs else None,
        relays=(),
        observers=(),
        session=SESSION,
        seed=7,
        options=options,
    )


SESSION = secrets.token_hex(16)


def dial(
    lab: Lab,
    name: str,
    mode: Mode = Mode.PUNCH,
    *,
    relay_only: bool = False,
    entry: Callable[[], int] | None = None,
) -> Outcome:
    """``a`` dials ``b``; where they connect, ``a`` gets an echo of `ECHO_BYTES`."""
    adapter = ADAPTERS[name]
    adapter.warm()
    options = Options(mode=mode, relay_only=relay_only)
    with ExitStack() as stack:
        clients = []
        for node, role in (("a", Role.DIALER), ("b", Role.LISTENER)):
            process = lab.spawn(node, entry or adapter.command())
            stack.callback(process.kill)
            client = PeerClient(process, node)
            client.send(configure(lab, node, adapter, role, options))
            clients.append(client)
        return run(clients)


def run(clients: Sequence[PeerClient]) -> Outcome:
    began = time.monotonic()
    ends = wait_all(clients, (Offered, Failed), soon())
    offers = [event.offer for event in ends if isinstance(event, Offered)]
    if len(offers) == len(clients):
        began = time.monotonic()
        start_at = time.monotonic_ns() + HEAD_START
        for client, remote in zip(clients, reversed(offers), strict=True):
            client.send(Dial(remote=remote, start_at=start_at))
        ends = wait_all(clients, (Connected, Failed), soon())
    seconds = time.monotonic() - began
    if all(isinstance(end, Connected) for end in ends):
        clients[0].send(Echo(bytes=ECHO_BYTES))
        echoed = clients[0].wait((Echoed,), soon())
        assert echoed == Echoed(at=echoed.at, bytes=ECHO_BYTES)
    for client in clients:
        assert client.close(soon(3)) == 0
        assert str(client.remarks) == ""
    return Outcome(list(ends), list(clients), seconds)


# coturn


def test_coturn_is_ready_at_once_and_ends_with_its_context(public: Lab) -> None:
    address = IPv4Address("127.0.0.1")
    began = time.monotonic()
    with coturn(public, "a", Coturn((address,))) as process:
        assert time.monotonic() - began < 1.0
        assert process.poll() is None
        assert FilePath(f"/proc/{process.pid}").exists()
    assert process.poll() is not None


def test_coturn_leaves_no_file(public: Lab) -> None:
    places = [FilePath(p) for p in ("/var/tmp", "/var/run", "/tmp", "/var/lib/turn", ".")]
    before = {
        p: sorted(x.name for x in p.iterdir() if "turn" in x.name) for p in places if p.exists()
    }
    with coturn(public, "a", Coturn((IPv4Address("127.0.0.1"),))):
        pass
    after = {p: sorted(x.name for x in p.iterdir() if "turn" in x.name) for p in before}
    assert after == before


def test_a_coturn_that_does_not_start_is_told_with_the_remedy(public: Lab) -> None:
    config = Coturn((IPv4Address("127.0.0.1"),), executable="false")
    with (
        pytest.raises(BackendError, match=r"(?s)lab \[a\].*no STUN answer.*package coturn"),
        coturn(public, "a", config, deadline=0.5),
    ):
        pass


def test_a_machine_without_coturn_is_unfit(public: Lab) -> None:
    config = Coturn((IPv4Address("127.0.0.1"),), executable="no-such-turnserver")
    with pytest.raises(UnfitError, match="apt-get install coturn"), coturn(public, "a", config):
        pass


# Without a NAT


@pytest.mark.parametrize("name", WITH_COTURN)
def test_two_public_peers_connect_directly(public: Lab, name: str) -> None:
    outcome = dial(public, name)
    assert outcome.paths == [Path.DIRECT, Path.DIRECT]
    a, b = (public.plan.address(node) for node in "ab")
    for end, here, there in zip(outcome.ends, (a, b), (b, a), strict=True):
        assert isinstance(end, Connected)
        assert (end.local.address, end.remote.address) == (here, there)
    for observed, node in zip(outcome.said(Observed), ("a", "b"), strict=True):
        assert len(observed) == 1 or name == "libnice"  # which leaves out what equals the host's
        for one in observed:
            assert isinstance(one, Observed)
            assert one.address.address == public.plan.address(node)
            assert one.address.port == public.plan.port(node) or name not in PUNCHERS


@pytest.mark.parametrize("name", PUNCHERS)
def test_a_plain_dial_to_a_public_peer_gets_through(public: Lab, name: str) -> None:
    """The control of the control: it fails behind a NAT for no reason of its own."""
    outcome = dial(public, name, Mode.PLAIN_DIAL)
    assert outcome.paths == [Path.DIRECT, Path.DIRECT]
    dialer, listener = outcome.ends
    assert isinstance(dialer, Connected)
    assert isinstance(listener, Connected)
    assert dialer.local.port != public.plan.port("a")
    assert listener.local.port == public.plan.port("b")
    assert listener.remote == dialer.local


@pytest.mark.parametrize("name", PUNCHERS)
def test_with_punching_off_nobody_tries(public: Lab, name: str) -> None:
    assert dial(public, name, Mode.SILENT).paths == [FailureClass.NOT_ATTEMPTED] * 2


@pytest.mark.parametrize("name", WITH_TURN)
def test_relay_only_is_relayed_even_where_direct_would_do(public: Lab, name: str) -> None:
    outcome = dial(public, name, relay_only=True)
    assert outcome.paths == [Path.RELAYED, Path.RELAYED]
    servers = public.plan.addresses["server"]
    for end in outcome.ends:
        assert isinstance(end, Connected)
        assert end.remote.address in servers
    assert [len(reserved) for reserved in outcome.said(Reserved)] == [1, 1]


@pytest.mark.parametrize("name", PUNCHERS)
def test_a_puncher_refuses_to_be_a_relay_client(public: Lab, name: str) -> None:
    assert dial(public, name, relay_only=True).paths == [FailureClass.UNSUPPORTED] * 2


# A direct path that comes late

LATE = """
table ip late {{
  chain output {{
    type filter hook output priority 0; policy accept;
    meta l4proto udp ip daddr {other} quota until 150 bytes drop
  }}
}}
"""


@contextmanager
def late_direct_path(lab: Lab) -> Iterator[None]:
    """The first datagram from each peer to the other is lost; relayed ones are not."""
    for node, other in (("a", "b"), ("b", "a")):
        rules = LATE.format(other=lab.plan.address(other))
        lab.run(node, ["nft", "-f", "-"], input=rules.encode())
    yield
    for node in "ab":
        lab.run(node, ["nft", "delete", "table", "ip", "late"])


def test_a_direct_path_that_comes_late_beats_the_relay(public: Lab) -> None:
    with late_direct_path(public):
        outcome = dial(public, "ice")
    assert outcome.paths == [Path.DIRECT, Path.DIRECT]
    assert outcome.seconds > 0.4, "the control had no effect: nothing was late"


def test_without_the_wait_the_relay_would_win(public: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "RELAY_WAIT", 0.0)
    with late_direct_path(public):
        outcome = dial(public, "ice")
    assert outcome.paths[0] is Path.RELAYED


class LyingIce(ice.IcePeer):
    """Says "direct" whatever the path: a claim proves nothing."""

    def _connected(self) -> Connected:
        return super()._connected().model_copy(update={"path": Path.DIRECT})


def test_a_lie_passes_the_contract_and_the_addresses_betray_it(public: Lab) -> None:
    outcome = dial(public, "ice", relay_only=True, entry=lambda: serve(LyingIce))
    assert outcome.paths == [Path.DIRECT, Path.DIRECT]
    for end in outcome.ends:
        assert isinstance(end, Connected)
        assert end.remote.address in public.plan.addresses["server"]


# Between NATs


@pytest.fixture
def homes() -> Iterator[Callable[[str, str], Lab]]:
    """Starts two homes with the given profiles, and coturn."""
    with ExitStack() as stack:
        yield lambda a, b: stack.enter_context(served(presets.two_homes(a, b)))


Homes = Callable[[str, str], Lab]


@pytest.mark.parametrize("name", WITH_COTURN)
def test_port_restricted_homes_are_punched(homes: Homes, name: str) -> None:
    lab = homes("port-restricted", "port-restricted")
    outcome = dial(lab, name)
    assert outcome.paths == [Path.DIRECT, Path.DIRECT]
    for end, nat in zip(outcome.ends, ("nat-b", "nat-a"), strict=True):
        assert isinstance(end, Connected)
        assert end.remote.address == lab.plan.address(nat)


@pytest.mark.parametrize("name", PUNCHERS)
def test_a_plain_dial_does_not_pass_a_nat(homes: Homes, name: str) -> None:
    outcome = dial(homes("port-restricted", "port-restricted"), name, Mode.PLAIN_DIAL)
    assert outcome.paths == [FailureClass.TIMEOUT] * 2
    assert outcome.seconds < 5.0


@pytest.mark.parametrize("name", PUNCHERS)
def test_symmetric_homes_cannot_be_punched(homes: Homes, name: str) -> None:
    outcome = dial(homes("symmetric", "symmetric"), name)
    assert outcome.paths == [FailureClass.TIMEOUT] * 2
    assert outcome.seconds < 5.0


@pytest.mark.parametrize("profile", ["symmetric", "udp-blocked", "corporate"])
def test_ice_falls_back_to_the_relay(homes: Homes, profile: str) -> None:
    outcome = dial(homes(profile, profile), "ice")
    assert outcome.paths == [Path.RELAYED, Path.RELAYED]
    assert ice.RELAY_WAIT < outcome.seconds < ice.RELAY_WAIT + 3.0


def test_a_port_that_changes_is_learnt_from_the_probe(homes: Homes) -> None:
    """Address-dependent filtering lets the probe from the symmetric side's new port in."""
    outcome = dial(homes("symmetric", "restricted-cone"), "punch-udp")
    assert outcome.paths == [Path.DIRECT, Path.DIRECT]
    listener = outcome.ends[1]
    ((observed,), _) = outcome.said(Observed)
    assert isinstance(listener, Connected)
    assert isinstance(observed, Observed)
    assert listener.remote.port != observed.address.port


def test_without_an_answer_from_stun_there_is_no_offer(homes: Homes) -> None:
    outcome = dial(homes("udp-blocked", "udp-blocked"), "punch-udp")
    assert outcome.paths == [FailureClass.GATHERING] * 2
    assert outcome.seconds < 4.0


def test_a_killed_peer_is_noticed(public: Lab) -> None:
    process: Process = public.spawn("a", ADAPTERS["punch-udp"].command())
    client = PeerClient(process, "a")
    options = Options(mode=Mode.PUNCH, relay_only=False)
    client.send(configure(public, "a", ADAPTERS["punch-udp"], Role.DIALER, options))
    client.wait((Offered,), soon())
    process.kill()
    with pytest.raises(Exception, match="ended with -9"):
        client.wait((Closed,), soon())
