"""All scenes of a mechanism."""

import asyncio
import os
from collections.abc import Callable, Sequence

from testbed.errors import UsageError
from testbed.model.contract import Transport
from testbed.model.peer_check import Checked, Scene, SceneResult
from testbed.peercheck.partner import IcePartner, Libp2pPartner, Partner, TcpPartner, UdpPartner
from testbed.peercheck.scenes import play
from testbed.peercheck.task import Patience, Task

_AT_ONCE = max(2, os.cpu_count() or 1)  # scenes
_ENDS = (Scene.DIALER, Scene.LISTENER, Scene.NOBODY, Scene.INTERRUPTED, Scene.ORPHANED)
_CONTROLS = (Scene.SILENT, Scene.PLAIN_DIALER, Scene.PLAIN_LISTENER)
_LIBP2P = (
    *(Scene.RELAYED_DIALER, Scene.RELAYED_LISTENER),
    *(Scene.RELAY, Scene.AUTONAT_SERVER, Scene.AUTONAT_CLIENT),
)
_Known = tuple[Transport, Callable[[], Partner], tuple[Scene, ...]]
MECHANISMS: dict[str, _Known] = {
    "punch_udp": (Transport.UDP, UdpPartner, (*_ENDS, *_CONTROLS)),
    "punch_tcp": (Transport.TCP, TcpPartner, (*_ENDS, *_CONTROLS)),
    "ice": (Transport.UDP, IcePartner, _ENDS),
    "dcutr_tcp": (Transport.TCP, Libp2pPartner, (*_ENDS, *_LIBP2P)),
    "dcutr_quic": (Transport.UDP, Libp2pPartner, (*_ENDS, *_LIBP2P)),
}


def check(
    argv: Sequence[str],
    mechanism: str,
    scenes: Sequence[Scene] = (),
    patience: Patience | None = None,
    progress: Callable[[SceneResult], None] | None = None,
) -> Checked:
    """Play ``scenes`` (default: all of the mechanism) with the program ``argv``.

    UsageError for a mechanism or a scene that cannot be played on loopback.
    """
    transport, partner, known = _known(mechanism)
    chosen = tuple(scenes) or known
    if strange := [scene for scene in chosen if scene not in known]:
        raise UsageError(
            f"{mechanism} has no scene {strange[0]}", remedy=f"one of: {', '.join(known)}"
        )
    task = Task(argv, mechanism, transport, partner, patience or Patience())
    return Checked(mechanism, tuple(asyncio.run(_all(task, chosen, progress))))


def _known(mechanism: str) -> _Known:
    if mechanism.startswith("ladder_"):
        raise UsageError(
            f"{mechanism} asks the machine's gateway for ports, which a check does not do",
            remedy=f"--mechanism {mechanism.replace('ladder', 'dcutr')}",
        )
    try:
        return MECHANISMS[mechanism]
    except KeyError:
        known = ", ".join(MECHANISMS)
        raise UsageError(f"unknown mechanism {mechanism!r}", remedy=f"one of: {known}") from None


async def _all(
    task: Task, scenes: Sequence[Scene], progress: Callable[[SceneResult], None] | None
) -> list[SceneResult]:
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(scene: Scene) -> SceneResult:
        async with free:
            result = await play(task, scene)
        if progress is not None:
            progress(result)
        return result

    return await asyncio.gather(*map(one, scenes))
