"""The side of a lab that is up: who it lets in, and what it tells."""

import contextlib
import json
import os
import select
import socket
import time
from pathlib import Path

from testbed.errors import TestbedError
from testbed.lab import sandbox
from testbed.lab.attach import DEADLINE, KINDS, Running, credentials
from testbed.lab.namespaces import NamespaceLab
from testbed.model.plan import AddBridge, AddLink, Plan


def listen() -> socket.socket:
    """The socket of a lab to be.  Call it before the sandbox is entered: the name
    belongs to the network namespace in which it is bound, and the credentials that
    others will see are those of this moment."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(Running(os.getuid(), os.getpid()).address)
    server.listen(8)
    return server


def serve(server: socket.socket, lab: NamespaceLab, signals: int) -> None:
    """Answer until asked to stop, or until a signal comes (`sandbox.signals`)."""
    since = time.monotonic()
    awaited: list[socket.socket | int] = [server, signals]
    while True:
        ready, _, _ = select.select(awaited, [], [])
        if signals in ready:
            sandbox.raise_for(os.read(signals, 1)[0])
        client, _ = server.accept()
        with client:
            client.settimeout(DEADLINE)
            _, uid, _ = credentials(client)
            if uid != os.getuid():  # inside, the owner is 0; strangers are not waited for
                continue
            try:
                request = json.loads(client.recv(4096))
            except (OSError, ValueError):
                continue
            if request.get("stop"):
                return
            if request.get("about"):
                _tell(client, lab, time.monotonic() - since)
                continue
            _answer(client, lab, str(request.get("node")))


def _tell(client: socket.socket, lab: NamespaceLab, up_s: float) -> None:
    routers = lab.plan.topology.routers
    words = {
        "topology": lab.plan.topology.name,
        "profiles": " ".join(router.profile for router in routers),
        "up_s": round(up_s, 1),
        "folder": str(Path.cwd()),
    }
    with contextlib.suppress(OSError):  # the client went away
        client.send(json.dumps(words).encode())


def _answer(client: socket.socket, lab: NamespaceLab, node: str) -> None:
    fds: list[int] = []
    try:
        netns, files = lab.entrance(node)
        fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in KINDS[:-1]]
        words = {"files": str(files) if files else None, "interfaces": _interfaces(lab.plan, node)}
        text = json.dumps(words).encode()
        socket.send_fds(client, [text], [*fds, netns])
    except TestbedError as error:
        with contextlib.suppress(OSError):
            client.send(json.dumps({"error": str(error)}).encode())
    except OSError:
        pass  # the client went away
    finally:
        for fd in fds:
            os.close(fd)


def _interfaces(plan: Plan, node: str) -> list[str]:
    """Those that have an address: the ports of a bridge show its packets once more."""
    ends = (end for link in plan.of(AddLink) for end in (link.a, link.b))
    wires = [end.ifname for end in ends if end.node == node and end.bridge is None]
    return wires + [step.ifname for step in plan.of(AddBridge) if step.node == node]
