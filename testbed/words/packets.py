"""Sentences about packets of the model: what NATs did with them, and why they were dropped."""

from typing import assert_never

from testbed.model.reason import (
    AdmitsAll,
    AdmitsContacted,
    Answer,
    Answered,
    Blocked,
    Drop,
    Exhausted,
    Filtered,
    Forwards,
    Hairpins,
    InSession,
    Loss,
    LostOnLink,
    MappedAnew,
    NoHairpin,
    Note,
    OverQuota,
    Remapped,
    Taken,
    TraceStep,
    Unfollowed,
    Unheard,
    Unmapped,
    Unrelated,
    Unrouted,
    Verb,
    drawn,
)

_OfNat = Unfollowed | Taken | Unrelated | NoHairpin
_OfNetwork = Unheard | LostOnLink | Unrouted


def step(one: TraceStep) -> str:
    """One event, without its time."""
    return starred(_step(one), one)


def starred(text: str, fact: object) -> str:
    """``text`` about ``fact``, with what the star at a port of the model means."""
    return f"{text} (*: the model's own port, on the wire it is another)" if drawn(fact) else text


def _step(one: TraceStep) -> str:
    return f"{one.message or one.kind} {one.source} > {one.destination}: {_fate(one)}"


def _fate(one: TraceStep) -> str:
    match one.verb:
        case Verb.LEAVES:
            return f"leaves {one.node} as {one.place}"
        case Verb.ENTERS:
            return f"enters {one.node} for {one.place}"
        case Verb.ARRIVES:
            return "arrives"
        case Verb.DROPPED:
            return drop(one.drop) if one.drop else "is dropped"
    assert_never(one.verb)


def loss(why: Loss | None) -> str:
    """Why a packet did not arrive; None: it is not known to be lost."""
    if why is None:
        return "no answer"
    return "; ".join([*map(note, why.notes), drop(why.drop)])


def note(one: Note) -> str:
    """What a NAT did."""
    match one:
        case MappedAnew(nat):
            return f"{nat} maps a new port for the second destination, one never signalled"
        case Remapped():
            return _remapped(one)
        case InSession(nat, internal, remote):
            return f"{nat} has a session that {internal} opened to {remote}"
        case Forwards(nat, port, target):
            return f"{nat} forwards port {port} to {target}"
        case Hairpins(nat, internal):
            return f"{nat} hairpins to {internal}"
        case AdmitsAll(nat, external):
            return f"{nat} lets anybody in to {external}"
        case AdmitsContacted(nat, external, address):
            return f"{nat} filters by address, and {external} has sent to {address}"
    assert_never(one)


def _remapped(one: Remapped) -> str:
    how = f"uses that port towards {one.remote} for {one.holder}"
    if one.holder is None:
        how = f"took an early packet of {one.remote} itself, which now owns that port"
    return f"{one.nat} {how}, so {one.internal} leaves from one never signalled"


def drop(why: Drop) -> str:
    """Why a packet went no further."""
    if isinstance(why, _OfNat):
        return _by_nat(why)
    if isinstance(why, _OfNetwork):
        return _by_network(why)
    match why:
        case Blocked(nat, protocol, ()):
            return f"{nat} forwards no {protocol} out"
        case Blocked(nat, protocol, ports):
            return f"{nat} lets {protocol} out to ports {', '.join(map(str, ports))} only"
        case OverQuota(nat, protocol, quota):
            return f"{nat} allows a subscriber {quota} {protocol} mappings, all in use"
        case Exhausted(nat, first, last):
            return f"{nat} has no free port left in {first}-{last}"
        case Unmapped(nat, external):
            return f"{nat} has no mapping at {external}"
        case Filtered():
            return _filtered(why)
        case Answered(inner, answer):
            return f"{drop(inner)}; it answers with {'RST' if answer is Answer.RESET else 'ICMP'}"
    assert_never(why)


def _filtered(why: Filtered) -> str:
    by, remote = ("address", why.remote.address)
    if why.by_port:
        by, remote = "address and port", str(why.remote)
    return f"{why.nat} filters by {by}: nothing went from {why.external} to {remote}"


def _by_nat(why: _OfNat) -> str:
    match why:
        case Unfollowed(nat):
            return f"{nat} takes it for a segment of a connection that came to nothing"
        case Taken(nat):
            return f"{nat} takes the packet itself, since its WAN input accepts"
        case Unrelated(nat):
            return f"{nat} has no session that the error belongs to"
        case NoHairpin(nat):
            return f"{nat} does not hairpin"
    assert_never(why)


def _by_network(why: _OfNetwork) -> str:
    match why:
        case Unheard(place):
            return f"nobody listens at {place}"
        case LostOnLink():
            return "a link loses every packet"
        case Unrouted(address):
            return f"no route to the inside address {address}"
    assert_never(why)
