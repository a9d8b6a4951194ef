"""What is harmed: cells, lives, meshes and studies, each with the processes that it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testbed.cli.cell_words import MeshWords
from testbed.cli.commands.meshes import MeshRequest
from testbed.nat.load import catalogue
from testbed.run.matrix import punch
from testbed.studies.autonat.study import STUDY as AUTONAT
from testbed.studies.autonat.study import AutonatCase
from testbed.studies.base import Study
from testbed.studies.life.case import LifeCase
from testbed.studies.life.scenarios import scenario
from testbed.studies.life.study import STUDY as LIFE
from testbed.studies.odds.cases import cases as odds_cases
from testbed.studies.odds.study import odds
from testbed.studies.punch.cell import Cell

FOUR = Path(__file__).with_name("four.toml")
EVERY = ("recorder", "the case's worker")  # whatever is run has these
PEERS = {"dialer": "a", "listener": "b"}
LIBP2P = {"relay": "server", "observer": "observer-1"}
DEADLINE = 75.0  # seconds of one try


@dataclass(frozen=True)
class Situation:
    """Cases of one lab, and its processes: what each is, and in which node."""

    name: str
    study: Study[Any]
    cases: Sequence[Any]
    processes: Mapping[str, str]
    delayed: bool = True  # its links have a delay
    contained: bool = False  # it is run with labs of containers, too

    @property
    def victims(self) -> tuple[str, ...]:
        line = ("delay line",) if self.delayed else ()
        return (*self.processes, *EVERY, *line)


def _cell(
    name: str, cell: Cell, more: Mapping[str, str] | None = None, *, contained: bool = True
) -> Situation:
    services = {"coturn": "server"} if "relay" not in cell.stacks.needs else LIBP2P
    processes = {**PEERS, **services, **(more or {})}
    study = punch(catalogue(), {})
    return _tried_once(Situation(name, study, [cell], processes, contained=contained))


def _tried_once(one: Situation) -> Situation:
    """An injection is a try; and who hangs is waited for no longer than needed."""
    return replace(one, study=replace(one.study, tries=1, deadline_s=DEADLINE))


def _life(name: str, peer: str, server: str) -> Situation:
    case = LifeCase(scenario(name), peer)
    processes = {**PEERS, server: "server"}
    return _tried_once(Situation(f"life {name} {peer}", LIFE, [case], processes))


def _mesh() -> Situation:
    words = MeshWords(world=str(FOUR), peer="punch-udp", certify=False, out=Path())
    cells, profiles = MeshRequest(words).cells()
    processes = {"dialer": "ann", "listener": "dan", "coturn": "server"}
    return _tried_once(Situation("mesh of four", punch(profiles, {}), cells, processes))


def _all() -> list[Situation]:
    hard, far = ("symmetric", "symmetric"), ("symmetric", "port-restricted")
    easy = ("full-cone", "port-restricted")
    autonat = AutonatCase(catalogue()["port-restricted"])
    asking = {"AutoNAT client": "a", "AutoNAT server": "observer-1"}
    return [
        _cell("punch-udp closed", Cell("punch-udp", hard)),
        _cell("punch-udp open", Cell("punch-udp", easy)),
        _cell("ice relayed", Cell("ice", hard)),
        _cell("ice of two phones", Cell("ice", ("carrier-grade",), "two-phones-one-carrier")),
        _cell("libp2p over TCP, closed", Cell("traversal-tcp", hard, "libp2p")),
        _cell("libp2p over TCP, open", Cell("traversal-tcp", easy, "libp2p")),
        _cell("libp2p over QUIC, far", Cell("traversal-quic", far, "three-continents")),
        _cell("mapped", Cell("ladder-quic", ("upnp-home", "symmetric"), "libp2p"),
              {"our gateway": "nat-a"}),
        _cell("mapped by miniupnpd", Cell("ladder-quic", ("upnp2-home", "symmetric"), "libp2p"),
              {"miniupnpd": "nat-a"}),
        _life("blip", "punch-udp", "coturn"),
        _life("reboot", "traversal-tcp", "relay"),
        _mesh(),
        _tried_once(Situation("autonat", AUTONAT, [autonat], asking, delayed=False)),
        _tried_once(Situation("odds", odds(8), odds_cases(8, 1)[:1], {"STUN server": "server"},
                              delayed=False)),
    ]  # fmt: skip


SITUATIONS = {one.name: one for one in _all()}
