"""What is expected of a cell: the oracle's prediction, and how stacks are known to deviate."""

from collections.abc import Mapping

from testbed.cell import DIALER, LISTENER, SERVER, Cell
from testbed.nat.profile import Profile
from testbed.oracle.deviation_conditions import Case
from testbed.oracle.deviations import Deviation, expected, known
from testbed.oracle.predict import Mechanism, Prediction, predict

_RELAY_ONLY = {
    "ice": "ice_relay_only",
    "dcutr_tcp": "dcutr_off",
    "dcutr_quic": "dcutr_quic_off",
    "ladder_tcp": "dcutr_off",  # the same thing: a circuit, and nothing else is tried
    "ladder_quic": "dcutr_quic_off",
}


def prediction(cell: Cell, profiles: Mapping[str, Profile]) -> Prediction:
    """What the oracle says of ``cell``, as known deviations of its stacks change it."""
    plain = _predicted(cell, profiles)
    return expected(plain, _known(cell, profiles, plain))


def deviations(cell: Cell, profiles: Mapping[str, Profile]) -> tuple[Deviation, ...]:
    """The known deviations that apply to ``cell``."""
    return _known(cell, profiles, _predicted(cell, profiles))


def _predicted(cell: Cell, profiles: Mapping[str, Profile]) -> Prediction:
    topology = cell.build()
    behaviours = {r.name: profiles[r.profile].behaviour for r in topology.routers}
    return predict(
        topology,
        behaviours,
        mechanism(cell),
        DIALER,
        LISTENER,
        server=SERVER,
        skew_ms=cell.skew_ms,
        agents=cell.stacks.agents,
    )


def _known(cell: Cell, profiles: Mapping[str, Profile], plain: Prediction) -> tuple[Deviation, ...]:
    """The table is of stacks behind one NAT each."""
    if cell.topology != "libp2p" or cell.mode != "punch":
        return ()
    ends, quic = cell.stacks, cell.stacks.transport == "udp"
    a, b = (profiles[name].behaviour for name in cell.profiles)
    nats = (a.udp, b.udp) if quic else (a.tcp, b.tcp)
    return known(Case(ends.dialer.name, ends.listener.name, quic, *nats, plain.outcome))


def mechanism(cell: Cell) -> Mechanism:
    """How the peers of ``cell`` try to reach each other."""
    stack = cell.stacks
    match cell.mode:
        case "punch":
            return Mechanism(stack.mechanism)
        case "plain_dial":
            return Mechanism(f"plain_dial_{stack.transport}")
        case "relay_only":
            return Mechanism(_RELAY_ONLY[stack.mechanism])
        case _:
            return Mechanism.NO_PUNCH
