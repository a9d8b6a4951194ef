"""Sentences about packets of the model: what NATs did with them, and why they were dropped."""

from typing import assert_never

from testbed.model import trace as it

_OfNat = it.Unfollowed | it.Taken | it.Unrelated | it.NoHairpin
_OfNetwork = it.Unheard | it.LostOnLink | it.TooLong | it.NotFragmented | it.Unrouted


def step(one: it.TraceStep) -> str:
    """One event, without its time."""
    return starred(_step(one), one)


def starred(text: str, fact: object) -> str:
    """``text`` about ``fact``, with what the star at a port of the model means."""
    if not it.drawn(fact):
        return text
    return f"{text} (*: the model's own port, on the wire it is another)"


def _step(one: it.TraceStep) -> str:
    return f"{one.message or one.kind} {one.source} > {one.destination}: {_fate(one)}"


def _fate(one: it.TraceStep) -> str:
    match one.verb:
        case it.Verb.LEAVES:
            return f"leaves {one.node} as {one.place}"
        case it.Verb.ENTERS:
            return f"enters {one.node} for {one.place}"
        case it.Verb.ARRIVES:
            return "arrives"
        case it.Verb.DROPPED:
            return drop(one.drop) if one.drop else "is dropped"
    assert_never(one.verb)


def loss(why: it.Loss | None) -> str:
    """Why a packet did not arrive; None: it is not known to be lost."""
    if why is None:
        return "no answer"
    return "; ".join([*map(note, why.notes), drop(why.drop)])


def note(one: it.Note) -> str:
    """What a NAT did."""
    match one:
        case it.MappedAnew(nat):
            return f"{nat} maps a new port for the second destination, one never signalled"
        case it.Remapped():
            return _remapped(one)
        case it.InSession(nat, internal, remote):
            return f"{nat} has a session that {internal} opened to {remote}"
        case it.Forwards(nat, port, target):
            return f"{nat} forwards port {port} to {target}"
        case it.Exposes(nat, port, target):
            return f"{nat} exposes {target.address}: port {port}, which nothing else takes, is its"
        case it.Hairpins(nat, internal):
            return f"{nat} hairpins to {internal}"
        case it.AdmitsAll(nat, external):
            return f"{nat} lets anybody in to {external}"
        case it.AdmitsContacted(nat, external, address):
            return f"{nat} filters by address, and {external} has sent to {address}"
    assert_never(one)


def _remapped(one: it.Remapped) -> str:
    how = f"uses that port towards {one.remote} for {one.holder}"
    if one.holder is None:
        how = f"took an early packet of {one.remote} itself, which now owns that port"
    return f"{one.nat} {how}, so {one.internal} leaves from one never signalled"


def drop(why: it.Drop) -> str:
    """Why a packet went no further."""
    if isinstance(why, _OfNat):
        return _by_nat(why)
    if isinstance(why, _OfNetwork):
        return _by_network(why)
    match why:
        case it.Blocked(nat, protocol, ()):
            return f"{nat} forwards no {protocol} out"
        case it.Blocked(nat, protocol, ports):
            return f"{nat} lets {protocol} out to ports {', '.join(map(str, ports))} only"
        case it.OverQuota(nat, protocol, quota):
            return f"{nat} allows a subscriber {quota} {protocol} mappings, all in use"
        case it.Exhausted(nat, first, last):
            return f"{nat} has no free port left in {first}-{last}"
        case it.Unmapped(nat, external):
            return f"{nat} has no mapping at {external}"
        case it.Filtered():
            return _filtered(why)
        case it.Answered(inner, answer):
            by = "RST" if answer is it.Answer.RESET else "ICMP"
            return f"{drop(inner)}; it answers with {by}"
    assert_never(why)


def _filtered(why: it.Filtered) -> str:
    by, remote = ("address", why.remote.address)
    if why.by_port:
        by, remote = "address and port", str(why.remote)
    return f"{why.nat} filters by {by}: nothing went from {why.external} to {remote}"


def _by_nat(why: _OfNat) -> str:
    match why:
        case it.Unfollowed(nat):
            return f"{nat} takes it for a segment of a connection that came to nothing"
        case it.Taken(nat):
            return f"{nat} takes the packet itself, since its WAN input accepts"
        case it.Unrelated(nat):
            return f"{nat} has no session that the error belongs to"
        case it.NoHairpin(nat):
            return f"{nat} does not hairpin"
    assert_never(why)


def swallows(largest: int) -> str:
    """What a link does."""
    return f"a link swallows what is longer than {largest}"


def _by_network(why: _OfNetwork) -> str:
    match why:
        case it.Unheard(place):
            return f"nobody listens at {place}"
        case it.LostOnLink():
            return "a link loses every packet"
        case it.TooLong(length, largest):
            return f"its {length} bytes are too long: {swallows(largest)}"
        case it.NotFragmented(length, mtu):
            return f"its {length} bytes are too long for a link of {mtu}, and it forbids fragments"
        case it.Unrouted(address):
            return f"no route to the inside address {address}"
    assert_never(why)
