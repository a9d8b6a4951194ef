"""Sentences about what the prober saw of a NAT."""

from collections.abc import Iterable

from testbed.model.statement import probing as it
from testbed.words.statements.text import Words

_CIRCUMSTANCES = {
    it.Circumstance.NOT_MEASURED: "not measured",
    it.Circumstance.NO_TRANSLATION: "no translation",
    it.Circumstance.FEW_MAPPINGS: "the NAT allows fewer mappings than this takes",
    it.Circumstance.NO_OTHER_MAPPING: "the NAT allows no other mapping to compare with",
    it.Circumstance.ONE_PORT: "one destination port is let out: none to compare with",
    it.Circumstance.NO_SOCKET: "no socket could be tried",
    it.Circumstance.UNANSWERED: "not even the contacted endpoint's answer came in",
    it.Circumstance.ANSWERED_ELSEWHERE: "the answer did not leave from there",
    it.Circumstance.ANSWER_LOST: "the answer did not come back",
    it.Circumstance.FILTERED: "filtering keeps the call out, whether hairpinned or not",
    it.Circumstance.SOME_PRESERVED: "some are preserved",
    it.Circumstance.NO_COMMON_ADDRESS: "no external address of both hosts was seen",
    it.Circumstance.NOT_PRESERVED: "the port is none of those that are preserved",
    it.Circumstance.OWN_MAPPINGS: "both hosts got what was sent to their own mapping",
    it.Circumstance.NEVER_EXPIRED: "hashed or random: no mapping was seen to expire",
    it.Circumstance.SOME_COME_BACK: "some come back after expiry",
    it.Circumstance.THE_SAME_AGAIN: "the same again after expiry",
    it.Circumstance.OTHERS_AGAIN: "others after expiry",
    it.Circumstance.TIMER_TOO_LONG: "the timer is longer than was waited",
    it.Circumstance.NO_QUOTA_SHOWN: "a quota does not show",
    it.Circumstance.NONE_KEPT_OUT: "no call was kept out",
    it.Circumstance.NO_OPEN_HOST: "no LAN host gets all calls from outside",
    it.Circumstance.ROUTER_UNCALLED: "no call came to the router itself",
    it.Circumstance.LAN_IS_PUBLIC: "the LAN's addresses are public",
    it.Circumstance.LAN_UNEXPOSED: "no call to a LAN address arrived, none of its packets left",
    it.Circumstance.NO_FORWARD_SOUGHT: "none was looked for, none showed itself",
    it.Circumstance.NO_FORWARD: "no forward",
    it.Circumstance.NO_SERVICE: "no service answers",
    it.Circumstance.SERVICE_LACKS_IT: "no service that has it answers",
    it.Circumstance.NO_PCP: "PCP does not answer",
    it.Circumstance.NO_UPNP: "no UPnP gateway answers",
}


def _mapped(pairs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{inside}->{outside}" for inside, outside in pairs)


def _any(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _in(let_in: bool) -> str:
    return "let in" if let_in else "not let in"


def _let_in(fact: it.LetIn) -> str:
    neighbour = f"contacted address from another port {_in(fact.neighbour)}"
    return f"to {fact.external}: stranger {_in(fact.stranger)}, {neighbour}"


def _unmapped(fact: it.EarlyUnmapped) -> str:
    came = "is called at once" if fact.seen is None else f"then seen as {fact.seen}"
    return f"unmapped {fact.port} {came}"


def _caller_lost(fact: it.CallerLost) -> str:
    instead = "" if fact.instead is None else f" but to {fact.instead}"
    return f"a caller let in to {fact.external} does not come to {fact.node}{instead}"


def _outbound(fact: it.OutboundFor) -> str:
    came = "came in" if fact.answered else "did not come in"
    return f"after {fact.seconds:.1f} s of outbound packets the remote's answer {came}"


def _tried(fact: it.Tried) -> str:
    return ", ".join(f"{idle:.2f} s {'alive' if alive else 'dead'}" for idle, alive in fact.samples)


def _called(fact: it.ForwardsCalled) -> str:
    lost = f"; not: {', '.join(fact.failed)}" if fact.failed else ""
    return f"called by a stranger: {_any(fact.found)}{lost}"


WORDS: Words = {
    it.Met: lambda fact: _CIRCUMSTANCES[fact.circumstance],
    it.Besides: "{first}; {second}",
    it.Several: "{parts}",
    it.Valued: "{value}: {seen}",
    it.OfOpenHost: "host {node}, which everything from outside goes to: {seen}",
    it.OfHost: "for host {node}: {value}",
    it.NotLetOut: "{protocol} is not let out",
    it.PortsTried: lambda fact: (
        f"of ports {_any(fact.tried)} contact was made with: {_any(fact.passed)}"
    ),
    it.SeenAs: "{port} seen as {seen}",
    it.Unreturned: "the answer of {remote} does not come in",
    it.SizePassed: "{size} bytes in one packet, both ways",
    it.SizeLost: "{size} bytes of {local} or back",
    it.OneAddress: "one external address was seen: {addresses}",
    it.HostAs: "{node} seen as {addresses}",
    it.LetIn: _let_in,
    it.PortsMapped: lambda fact: f"ports {_mapped(fact.pairs)}",
    it.PortsCounted: "{mappings} mappings",
    it.PortsKept: lambda fact: f"kept: {fact.low} to {fact.high}; not: {_mapped(fact.moved)}",
    it.PortUnknown: "mapping is {mapping}: the port is not known beforehand",
    it.EarlySeen: "mapped {mapped}, seen as {seen} by the early remote",
    it.EarlyUnmapped: _unmapped,
    it.CallLost: "a call to {target} did not come to {node}",
    it.CallCame: "a call to {target} came from {source}",
    it.SourceStrange: "which is neither {external} nor the LAN endpoint",
    it.SharedPort: "{port} of both hosts seen as {first} and {second}",
    it.SharedEnd: "both are {external} towards one destination",
    it.AnswersLost: "answers to {external} do not come to {node}",
    it.CallerLost: _caller_lost,
    it.InboundUntil: "inbound packets came until {seconds:.1f} s",
    it.InboundFor: "inbound packets alone came for {seconds:.1f} s",
    it.OutboundFor: _outbound,
    it.Guest: lambda fact: f"a guest of the filter was {_in(fact.let_in)}",
    it.Watched: "watched for {seconds:.1f} s, the timer may be longer",
    it.Tried: _tried,
    it.NoneRefused: "{mappings} mappings of one host, none refused",
    it.NextRefused: (
        "{mappings} mappings of one host, the next refused; then {others} of the other"
    ),
    it.CallAnswered: "{port} from {node}'s {source_port}: {answer}",
    it.CallsCame: lambda fact: (
        f"{fact.calls} calls that nothing has let in came to {fact.host}"
        + (f", none at {_any(fact.missed)}" if fact.missed else "")
    ),
    it.RouterTook: "{taken} of {calls} calls to the router itself were taken",
    it.CameToLan: "from outside came to the LAN: {calls}",
    it.LeftLan: "outside were seen packets of {hosts}",
    it.ForwardsCalled: _called,
    it.ForwardsReflected: lambda fact: f"called by the other LAN host: {_any(fact.found)}",
}
