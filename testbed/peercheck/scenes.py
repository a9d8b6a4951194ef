"""The conversations: what the harness would say, to a peer that has another before it."""

import contextlib
import time
from contextlib import AsyncExitStack

from testbed.model.contract import (
    Connected,
    Dial,
    Endpoint,
    Failed,
    FailureClass,
    IceParameters,
    Offer,
    Role,
)
from testbed.model.peer_check import Gap, Rule, Scene, SceneResult
from testbed.peercheck.child import Child, Ended
from testbed.peercheck.ground import NOBODY_PORT, ground
from testbed.peercheck.meeting import START_MARGIN, Meeting
from testbed.peercheck.public import PUBLIC, node, serve
from testbed.peercheck.strangers import elsewhere
from testbed.peercheck.talk import Talk
from testbed.peercheck.task import Task
from testbed.stacks.order import name_of
from testbed.stacks.session import now

SOONEST = 2.0  # seconds after the start: who gives up before has not tried


async def play(task: Task, scene: Scene) -> SceneResult:
    """One conversation with a fresh process, to its end."""
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(ground())
        child = await Child.start(task.argv, scene)
        stack.push_async_callback(child.stop)
        played = Talk(task, scene, place, child)
        with contextlib.suppress(Ended):
            await _run(played, stack)
        if child.starved:
            played.skip(Gap.BUSY, "")
    return SceneResult(
        scene,
        tuple(child.broken),
        tuple(played.unchecked),
        tuple(name_of(event) for event in child.events),
        str(child.remarks) if child.broken else "",
        round(time.monotonic() - started, 2),
    )


async def _run(talk: Talk, stack: AsyncExitStack) -> None:
    if talk.task.libp2p and talk.role is not Role.RELAY:
        hosts = (talk.place.server, talk.place.nobody)
        for role, host in zip((Role.RELAY, Role.AUTONAT_SERVER), hosts, strict=True):
            public = await stack.enter_async_context(node(role, host, talk.task.transport))
            if role is Role.RELAY:
                talk.relays = (public,)
            else:
                talk.observers = (public,)
    await talk.child.send(talk.configure(talk.role))
    await (serve if talk.role in PUBLIC else _end)(talk, stack)


async def _end(talk: Talk, stack: AsyncExitStack) -> None:
    offer = await talk.offered()
    if offer is None:
        return
    if talk.scene is Scene.ORPHANED:
        await talk.child.orphan(talk.patience.closing)
    elif talk.scene is Scene.INTERRUPTED:
        await talk.close()
    elif talk.scene is Scene.NOBODY:
        await _alone(talk)
    else:
        await Meeting(talk).run(stack, offer)


def _nobody(talk: Talk) -> Offer:
    """Somebody who takes everything and never answers."""
    where = Endpoint(address=talk.place.nobody, port=NOBODY_PORT)
    ice = IceParameters(
        ufrag="nobo",
        pwd="nobodyanswersthistimeround",
        candidates=(f"1 1 udp 2130706431 {where.address} {where.port} typ host",),
    )
    stranger = "12D3KooWA8EXV3KjBxEU5EnsPfneLx84vMWAtTBQBeyooN82KSuS"
    circuits = tuple(f"{relay}/p2p-circuit/p2p/{stranger}" for relay in talk.relays)
    return Offer(
        addresses=(where,),
        ice=ice if talk.task.ice else None,
        multiaddrs=circuits,
    )


async def _alone(talk: Talk) -> None:
    """A dial that nobody answers has to end by itself, as a failure.

    Probes are answered from an address that they were not sent to, which is no answer.
    """
    start = now() + START_MARGIN
    place = talk.place
    answering = talk.configure(Role.LISTENER)
    with elsewhere(place.deaf, place.partner, answering) as astray:
        await talk.child.send(Dial(remote=_nobody(talk), start_at=start))
        end = await talk.child.wait((Connected, Failed), talk.patience.connecting, asked="dial")
    if isinstance(end, Connected) and astray.answered:
        talk.child.blame(Rule.ACK_MISPLACED, event="connected", found=str(end.remote))
    elif isinstance(end, Connected):
        talk.child.blame(Rule.CLAIM_WRONG, event="connected", field="remote", found=str(end.remote))
    elif isinstance(end, Failed):
        talk.expect_failure(end, FailureClass.TIMEOUT, FailureClass.CHECKS)
        after = round((now() - start) / 1e9, 2)
        if talk.task.punches and end.failure is FailureClass.TIMEOUT and after < SOONEST:
            talk.child.blame(Rule.GAVE_UP_EARLY, event="dial", expected=SOONEST, found=after)
    await talk.close()
