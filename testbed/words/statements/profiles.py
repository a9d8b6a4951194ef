"""Sentences about NATs that did not do as their profiles declare."""

from testbed.model.behaviour import Hairpin, Unsolicited
from testbed.model.statement import profiles as it
from testbed.words.statements.text import Words

_ANSWERS = {
    Unsolicited.DROP: "with silence",
    Unsolicited.RESET: "with a RST",
    Unsolicited.ICMP: "with an ICMP error",
}


def _let_out(fact: it.LetOutThough) -> str:
    words = f"{fact.router} let {fact.protocol.upper()} out to {fact.remote}"
    if not fact.ports:
        return f"{words}, and should let none out"
    return f"{words}, and should only to ports {', '.join(map(str, fact.ports))}"


def _hairpin(fact: it.HairpinDiffers) -> str:
    words = f"{fact.router} took {fact.internal}'s packet to {fact.remote} back in"
    if fact.seen_as is None:
        return f"{words}, and should not hairpin"
    should = "external" if fact.declared is Hairpin.EXTERNAL_SOURCE else "internal"
    return f"{words} as from {fact.seen_as}, and should by the sender's {should} endpoint"


def _answer(fact: it.AnswerDiffers) -> str:
    return (
        f"{fact.router} answered {fact.source} {_ANSWERS[fact.given]}, "
        f"and should {_ANSWERS[fact.declared]}"
    )


WORDS: Words = {
    it.LetOutThough: _let_out,
    it.NotLetOut: (
        "{router} did not let {source} out to {destination}, and its profile has no reason for that"
    ),
    it.LetInThough: "{router} let {remote} in to {external}, which had sent nothing to {unsent}",
    it.ShutThough: (
        "{router} did not let {source} in to {destination}, though {external} had sent to {remote}"
    ),
    it.HairpinDiffers: _hairpin,
    it.NoHairpin: (
        "{router} did not take {source}'s packet to {destination} back in, and should hairpin"
    ),
    it.SentOut: "{router} sent {internal} out to {remote} as {external}",
    it.Translated: "{sent}, though it should not translate",
    it.NotKept: "{before}, and {sent}: it should have kept {kept}",
    it.NotAnother: "{first}, and {sent}: it should have been another one",
    it.PortOutside: "{sent}, which is not one of its ports {ports.first}-{ports.last}",
    it.PortNotKept: "{sent}, and should have kept port {port}",
    it.OverQuota: "{sent}: that is mapping {count} of {subscriber}, and {quota} are allowed",
    it.AnswerDiffers: _answer,
}
