"""The answer to a packet from outside that nothing lets in."""

from testbed.explain.axes.view import Knock, Shown, View
from testbed.model.behaviour import Unsolicited, WanInput
from testbed.model.packet import RST
from testbed.model.refusal import Refusal
from testbed.model.statement.profiles import AnswerDiffers

_LEFT_NS = 100_000_000  # at the end of a capture an answer may not be in it any more
_HOST_UNREACHABLE = 1  # code of ICMP type 3, RFC 792


def check(view: View) -> Shown:
    """Is it the declared one?"""
    declared = view.axes.unsolicited
    if view.behaviour.wan_input is WanInput.ACCEPT:
        declared = Unsolicited.RESET if view.protocol == "tcp" else Unsolicited.ICMP
    last = view.scene.journeys[-1].last.time_ns if view.scene.journeys else 0
    for knock in view.knocks:
        if Refusal.LEAK in knock.journey.end.rules or last - knock.packet.time_ns < _LEFT_NS:
            continue
        if knock.answer is not None and knock.answer.icmp_code == _HOST_UNREACHABLE:
            continue  # it was let in, and nobody is there
        given = _given(knock)
        if given is not declared:
            shown = tuple(p for p in (knock.packet, knock.answer) if p is not None)
            yield AnswerDiffers(view.router, knock.packet.source, given, declared), shown


def _given(knock: Knock) -> Unsolicited:
    if knock.answer is None:
        return Unsolicited.DROP
    return Unsolicited.RESET if knock.answer.tcp_flags & RST else Unsolicited.ICMP
