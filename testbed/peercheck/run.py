"""All scenes of a mechanism."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from testbed.errors import UsageError
from testbed.model.peer_check import Checked, Scene, SceneResult
from testbed.peercheck.partner import IcePartner, Libp2pPartner, Partner, TcpPartner, UdpPartner
from testbed.peercheck.scenes import play
from testbed.peercheck.task import Patience, Task
from testbed.studies.punch import mechanisms
from testbed.studies.punch.mechanism import Mechanism

_AT_ONCE = max(2, os.cpu_count() or 1)  # scenes
_ENDS = (Scene.DIALER, Scene.LISTENER, Scene.NOBODY, Scene.INTERRUPTED, Scene.ORPHANED)
_CONTROLS = (Scene.SILENT, Scene.PLAIN_DIALER, Scene.PLAIN_LISTENER)
_LIBP2P = (
    *(Scene.RELAYED_DIALER, Scene.RELAYED_LISTENER),
    *(Scene.RELAY, Scene.AUTONAT_SERVER, Scene.AUTONAT_CLIENT),
)
_SCENES: Mapping[str, tuple[Scene, ...]] = {
    "addresses": (*_ENDS, *_CONTROLS),
    "ice": _ENDS,
    "multiaddrs": (*_ENDS, *_LIBP2P),
}
_PARTNERS: Mapping[tuple[str, str], Callable[[], Partner]] = {
    ("addresses", "udp"): UdpPartner,
    ("addresses", "tcp"): TcpPartner,
    ("ice", "udp"): IcePartner,
    ("multiaddrs", "udp"): Libp2pPartner,
    ("multiaddrs", "tcp"): Libp2pPartner,
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
    one = _played(mechanism)
    known = _SCENES[one.offers]
    chosen = tuple(scenes) or known
    if strange := [scene for scene in chosen if scene not in known]:
        raise UsageError(
            f"{mechanism} has no scene {strange[0]}", remedy=f"one of: {', '.join(known)}"
        )
    task = Task(argv, one, _PARTNERS[one.offers, one.transport], patience or Patience())
    return Checked(mechanism, tuple(asyncio.run(_all(task, chosen, progress))))


def _played(name: str) -> Mechanism:
    """The mechanism ``name``; UsageError for one that asks for what is not on loopback."""
    found = mechanisms.mechanism(name)
    if found.climbed is None:
        return found
    alike = [
        one.name
        for one in mechanisms.MECHANISMS.values()
        if one.climbed is None and (one.offers, one.transport) == (found.offers, found.transport)
    ]
    raise UsageError(
        f"{name} asks the machine's gateway for ports, which a check does not do",
        remedy=f"--mechanism {' or '.join(alike)}",
    )


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
