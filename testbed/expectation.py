"""What the oracle expects of a cell: its mechanism, and the prediction beside the verdict."""

from collections.abc import Mapping

from testbed.cell import DIALER, LISTENER, SERVER, Cell
from testbed.nat.profile import Profile
from testbed.oracle.predict import Mechanism, Prediction, predict

_RELAY_ONLY = {
    "ice": "ice_relay_only",
    "dcutr_tcp": "dcutr_off",
    "dcutr_quic": "dcutr_quic_off",
    "ladder_tcp": "dcutr_off",  # the same thing: a circuit, and nothing else is tried
    "ladder_quic": "dcutr_quic_off",
}


def prediction(cell: Cell, profiles: Mapping[str, Profile]) -> Prediction:
    """What the oracle says of ``cell``."""
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
