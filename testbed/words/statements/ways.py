"""Sentences about how a direct connection was had."""

from testbed.model.statement import ways as it
from testbed.words.statements.text import Words


def _packet_came(fact: it.PacketCame) -> str:
    to = f" to {fact.to}" if fact.to else ""
    source = f" from {fact.source}" if fact.source else ""
    return f"{fact.node}'s packet{to}{source} came to {fact.target}"


def _no_nat(fact: it.NoNatBetween) -> str:
    where = "in one network" if fact.network else "on the internet"
    return f"{fact.dialer} and {fact.listener} are both {where}: no NAT stands between them"


def _filter(by_address: bool) -> str:
    if by_address:
        return "its filter looks at the address alone"
    return "its filter lets anybody in"


def _admitted(fact: it.Admitted) -> str:
    words = f"{fact.router} let {fact.node}'s packet in to {fact.external}"
    return f"{words}, for {_filter(fact.by_address)}: nobody had sent to {fact.remote}"


def _learned(fact: it.Learned) -> str:
    known = "had signalled" if fact.signalled else "was seen as"
    told = ", ".join(map(str, fact.told))
    return (
        f"{fact.node} {known} {told} and comes from {fact.seen}: {fact.other} answered what it saw"
    )


def _asked_for(fact: it.AskedForPort) -> str:
    words = f"{fact.router} had been asked for its port {fact.port}"
    return f"{words}, and forwards it to {fact.target}" if fact.target else words


def _came_in(fact: it.CameIn) -> str:
    how = "by that" if fact.by_address is None else f"for {_filter(fact.by_address)}"
    return (
        f"{fact.node}'s packet from {fact.remote} came in at {fact.router} to "
        f"{fact.external} {how}, at {fact.at_ms:.1f} ms"
    )


def _came_and_ended(fact: it.CameAndEnded) -> str:
    rule = f" as {fact.rule!r}" if fact.rule else ""
    end = "it came in" if fact.entered else f"{fact.node} stopped it{rule}"
    return f"a packet from {fact.source} came to {fact.node} for {fact.destination}, and {end}"


_DIRECT = "the wire shows a direct connection, "
WORDS: Words = {
    it.WayUnseen: _DIRECT + "and not all of its way",
    it.ArrivalUnseen: _DIRECT + "but no packet from {source} that came to {target}",
    it.PacketCame: _packet_came,
    it.CameByNoNat: "{node}'s packet came to {target} by no NAT",
    it.PassedNoNat: "{node}'s packet went to {destination} without passing a NAT, and arrived",
    it.NoNatBetween: _no_nat,
    it.CameBackIn: (
        "{node} sent to {remote}, which is {router}'s own outside: "
        "it came back in as {source} to {destination}"
    ),
    it.Hairpinned: (
        "{router} hairpins: it took {node}'s packet to its own outside address back in to {target}"
    ),
    it.DialedBack: "{node} dialed {destination}, and that came to {target}",
    it.Reversed: (
        "{target} can be reached from outside, so {node} dialed back instead of punching"
    ),
    it.Admitted: _admitted,
    it.Reachable: "no NAT stands before {node}: whatever {other} sends comes to it",
    it.HadOpened: (
        "{other}'s packet to {remote} had opened {router} {lead_ms:.1f} ms "
        "before {node}'s came in there"
    ),
    it.AnswersSeen: "{other} answers {seen}, from where {node}'s packet came",
    it.Learned: _learned,
    it.AskedForPort: _asked_for,
    it.Forwards: "{router} forwards port {port} to {target}",
    it.Exposes: "{router} exposes a host: what nothing else takes at port {port} goes to {target}",
    it.Opened: "{internal} sent to {remote}: that opened {external} at {router}",
    it.CameIn: _came_in,
    it.CameAndEnded: _came_and_ended,
}
