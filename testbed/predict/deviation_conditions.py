"""In which cells a stack deviates, as predicates that `testbed.predict.deviations` names."""

from dataclasses import dataclass

from testbed.model.behaviour import Allocation, Filtering, Mapping, Transport
from testbed.model.outcome import Outcome
from testbed.model.version import Built


@dataclass(frozen=True)
class Case:
    """A cell as conditions see it; the NATs' sides are those of the cell's transport.

    ``built``: the versions of its two stacks, those of them that are known.
    """

    dialer: str  # the names of the stacks
    listener: str
    quic: bool
    dialer_nat: Transport
    listener_nat: Transport
    outcome: Outcome
    built: tuple[Built, ...] = ()


GO = frozenset({"go-tcp", "go-quic", "go-v0.46-tcp", "go-v0.46-quic"})
DEPENDENT = frozenset({Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT})
JS = frozenset({"js-tcp", "js-quic"})
RUST_NOW = frozenset({"rust-tcp", "rust-quic"})
RUST = RUST_NOW | {"rust-v0.54-tcp", "rust-v0.54-quic"}
PY = frozenset({"py-tcp", "py-quic"})


def third_dial_gets_in(case: Case) -> bool:
    """The listener's fresh port is let in at a NAT that looks at addresses alone."""
    return (
        case.quic
        and case.listener == "go-quic"
        and case.dialer not in JS | PY  # which tell nobody where to dial them
        and case.outcome is Outcome.RELAYED
        and case.dialer_nat.mapping is Mapping.ENDPOINT_INDEPENDENT
        and case.dialer_nat.filtering is Filtering.ADDRESS_DEPENDENT
    )


def _only_the_listeners_syn_gets_in(case: Case) -> bool:
    """It leaves nat-b from a port of its own, which nat-a lets in by its address."""
    return (
        not case.quic
        and case.dialer in GO | RUST
        and case.listener_nat.mapping in DEPENDENT
        and case.dialer_nat.mapping is Mapping.ENDPOINT_INDEPENDENT
        and case.dialer_nat.filtering is Filtering.ADDRESS_DEPENDENT
    )


def both_serve(case: Case) -> bool:
    go = case.dialer in GO and case.outcome is Outcome.DIRECT
    return go and _only_the_listeners_syn_gets_in(case)


def third_dial_is_served(case: Case) -> bool:
    """After `both_serve`, and `both_serve_py`."""
    alone = _only_the_listeners_syn_gets_in(case) or (case.dialer in PY and _alone(case))
    return alone and case.outcome is Outcome.RELAYED and case.listener == "go-tcp"


def nobody_leaves(case: Case) -> bool:
    return {case.dialer, case.listener} <= GO and case.outcome is Outcome.DIRECT


def _admits(nat: Transport) -> bool:
    """Whoever dials the address that is known of a host behind ``nat`` gets in."""
    mapped = nat.mapping in (Mapping.NONE, Mapping.ENDPOINT_INDEPENDENT)
    return mapped and nat.filtering is Filtering.ENDPOINT_INDEPENDENT


def _dialed(case: Case) -> bool:
    """js-libp2p dials from a fresh port what the listener has told, and gets in."""
    return case.dialer in JS and case.listener not in JS and _admits(case.listener_nat)


def _dialed_back(case: Case) -> bool:
    return case.listener in JS and case.dialer not in JS and _admits(case.dialer_nat)


def nobody_punches(case: Case) -> bool:
    either = bool({case.dialer, case.listener} & JS) and case.outcome is Outcome.DIRECT
    return either and not _dialed(case) and not _dialed_back(case)


def one_sided(case: Case) -> bool:
    """Our listener leaves alone the private address that it is told; others dial even that."""
    ours = case.listener in ("traversal-tcp", "traversal-quic")
    return ours and case.outcome is Outcome.DIRECT and _dialed(case)


def _found(stack: str, nat: Transport) -> bool:
    """What ``stack`` signals of itself is where its packets come from."""
    if stack in JS:
        return False
    if nat.mapping is Mapping.NONE:
        return True
    if stack == "py-quic":
        return False
    lost = stack in RUST_NOW | PY and nat.allocation is not Allocation.PRESERVING
    return nat.mapping is Mapping.ENDPOINT_INDEPENDENT and not lost


def _gets_in(case: Case, *, to_dialer: bool) -> bool:
    """One side's dial of a punch reaches the other, which sends to what it was signalled."""
    ends = (case.listener, case.listener_nat), (case.dialer, case.dialer_nat)
    source, target = ends if to_dialer else reversed(ends)
    exact = target[1].filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT
    return _found(*target) and (_found(*source) or not exact)


def _reverses(case: Case) -> bool:
    """The listener dials what the dialer advertises.

    rust-libp2p's does not, py-libp2p's has not heard of it yet, and as the dialer it tells nothing.
    """
    told = case.listener not in RUST | PY and case.dialer not in PY
    return told and _admits(case.dialer_nat)


def port_forgotten(case: Case) -> bool:
    either = _gets_in(case, to_dialer=True) or _gets_in(case, to_dialer=False)
    rust = bool({case.dialer, case.listener} & RUST_NOW)
    return rust and not either and not _reverses(case) and case.outcome is Outcome.DIRECT


def served_alone(case: Case) -> bool:
    """Only the listener's SYN gets in, and the dialer takes it for any other."""
    accepts = case.dialer in RUST or (case.dialer in GO and case.listener in RUST)
    served = accepts and _alone(case) and not _reverses(case)
    return served and case.outcome is Outcome.DIRECT


def _alone(case: Case) -> bool:
    """Over TCP, of the two dials of a punch only the listener's gets in."""
    here, there = (_gets_in(case, to_dialer=to_dialer) for to_dialer in (True, False))
    return not case.quic and here and not there


def dials_too(case: Case) -> bool:
    dials = case.quic and case.listener in RUST and case.outcome is not Outcome.NONE
    return dials and _gets_in(case, to_dialer=True)


def kept_by_rust(case: Case) -> bool:
    ends = {case.dialer, case.listener}
    return ends <= GO | RUST and bool(ends & RUST) and case.outcome is Outcome.DIRECT


def _has_py(case: Case) -> bool:
    return bool({case.dialer, case.listener} & PY) and case.outcome is Outcome.DIRECT


def _enters(case: Case) -> bool:
    """Over QUIC py-libp2p dials, from a fresh port, a listener whose NAT lets everybody in.

    js-libp2p tells nobody its public address, and py-libp2p's own is not told over QUIC.
    """
    alone = case.dialer in PY and case.listener not in PY | JS
    return case.quic and alone and _has_py(case) and _admits(case.listener_nat)


def enters_alone(case: Case) -> bool:
    """Ours keeps still where it was told a private address; go-libp2p sends there all the same."""
    return _enters(case) and case.listener == "traversal-quic"


def fresh_sockets(case: Case) -> bool:
    return case.quic and _has_py(case) and not _enters(case)


def closed_unseen(case: Case) -> bool:
    """After `fresh_sockets`: the listener's dial gets in, and it closes that without a word."""
    takes = case.dialer in ("go-quic", "rust-quic") and case.listener in PY
    return takes and case.outcome is Outcome.RELAYED and _admits(case.dialer_nat)


def port_foretold(case: Case) -> bool:
    either = _gets_in(case, to_dialer=True) or _gets_in(case, to_dialer=False)
    return not case.quic and _has_py(case) and not either and not _reverses(case)


def both_serve_py(case: Case) -> bool:
    accepts = case.dialer in PY or (case.dialer in GO | RUST and case.listener in PY)
    return accepts and _has_py(case) and _alone(case)


def kept_by_py(case: Case) -> bool:
    return {case.dialer, case.listener} <= GO | RUST | PY and _has_py(case)


def led_by_py(case: Case) -> bool:
    """js-libp2p waits to be told by identify what py-libp2p offers; by then that has begun."""
    alone = not case.quic and case.dialer in PY and case.listener in JS
    return alone and _admits(case.dialer_nat)
