"""Sentences about what the prober saw of a gateway."""

from testbed.model.statement import gateways as it
from testbed.words.statements.text import Words

_ASKED = {
    it.Asked.ANY_PORT: "AddAnyPortMapping of a version 1",
    it.Asked.LEASE: "a lease that ends",
    it.Asked.ABSENT: "the end of a mapping that is not there",
}


def _services(fact: it.ServicesAsked) -> str:
    who = "a stranger asked" if fact.outside else "asked"
    return f"{who} at {fact.address}: {', '.join(fact.services) or 'silence'}"


def _called(fact: it.GrantCalled) -> str:
    came = "came" if fact.came else "did not come"
    return f"{fact.service} {fact.protocol} {fact.port}: {came}"


def _left(fact: it.GrantLeft) -> str:
    seen = ", ".join(map(str, fact.seen)) or "not let out"
    return f"{fact.service} {fact.protocol} {fact.inside} to {fact.granted}: {seen}"


def _for_other(fact: it.MapsForOther) -> str:
    if fact.code == 0:
        return f"{fact.asker} maps for {fact.other}, as asked"
    return f"{fact.asker} maps for {fact.other}: {_answer(fact.code)}"


def _answer(code: int | None) -> str:
    return "no answer" if code is None else str(code)


WORDS: Words = {
    it.ServicesAsked: _services,
    it.GrantRefused: "{service} {protocol}: refused",
    it.GrantCalled: _called,
    it.GrantLeft: _left,
    it.AskedTwice: "{first} asked, {had} given; {second} asked, {again} given",
    it.Results: "results {first}, {second}",
    it.PortTaken: "{port} is taken: result {result}, port {given}",
    it.StrangeNonce: "with another nonce, renewal and end have the results {renewal} and {end}",
    it.Code: lambda fact: f"{_ASKED[fact.asked]}: {_answer(fact.code)}",
    it.EndlessLease: lambda fact: f"a lease of 0: {_answer(fact.code)}, {fact.left} s are left",
    it.VersionAnswered: lambda fact: f"version {fact.version}: {fact.answer or 'silence'}",
    it.AddressTold: "{service} tells {address}",
    it.Clock: "{first} s, then {last} s",
    it.LeaseRefused: "asked for {seconds} s: result {result}",
    it.LeaseLimits: "{low} s granted for {asked} s, {high} s for {very_long} s",
    it.MapsForOther: _for_other,
}
