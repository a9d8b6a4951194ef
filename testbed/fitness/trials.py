"""What a lab needs of the kernel, tried in a throwaway sandbox.

A program that is installed may still not do its work here, and a container's kernel
may refuse what its programs offer: so links are made, rules loaded and a capture ring
laid out before anybody says that they can be.  Nothing of it is left.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NoReturn

from testbed.capture.ring import Ring
from testbed.errors import TestbedError
from testbed.lab import kernel, sandbox
from testbed.lab.links.netem import netem_available
from testbed.lab.loading import LOADERS, REMEDIES, brief
from testbed.lab.netlink import Netlink
from testbed.lab.rtnetlink import VethEnd, bridge, veth
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine, LoadRules, ServePortMapping
from testbed.model.presets import probe_bench
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

_DEADLINE = 30.0  # seconds for one fork and all that it tries
_TOOL_DEADLINE = 5.0  # seconds for a program that loads a few rules

_TIMERS = ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established")
_RING_BYTES = 1 << 20


class Check(FrozenValue):
    """What was found.

    ``ok`` is None where nothing hangs on the answer: an extra that is absent, or
    something that could not be tried for a reason that another check refuses.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str  # empty where there is nothing to do
    needed_for: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def in_a_fork(work: Callable[[], list[Check]]) -> list[Check]:
    """``work`` done in a child, which enters namespaces without taking us along."""
    answer, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_the_child(work, held)
    os.close(held)
    try:
        text = _read_to_end(answer, time.monotonic() + _DEADLINE)
    finally:
        os.close(answer)
        os.kill(child, signal.SIGKILL)  # not yet reaped, so the number is still its own
        os.waitpid(child, 0)
    if text:
        return [Check(**one) for one in json.loads(text)]
    found = f"the trial crashed, or took longer than {_DEADLINE:.0f} s"
    return [Check("sandbox", False, found, "report it, with what was printed", "every lab")]


def try_user_namespace() -> list[Check]:
    """May an ordinary user have one?"""
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    except OSError as error:
        remedy = sandbox.diagnose()
        return [Check("user namespaces", False, str(error), remedy, "labs of ordinary users")]
    return [Check("user namespaces", True, "allowed", "", "labs of ordinary users")]


def try_sandbox() -> list[Check]:
    """Enter a sandbox and try in it what labs need; the calling process is used up."""
    try:
        sandbox.enter()
        kernel.unshare(kernel.CLONE_NEWNET)  # if we were inside already: leave no trace there
    except (TestbedError, OSError) as error:
        remedy = getattr(error, "remedy", None) or sandbox.diagnose()
        return [Check("sandbox", False, _message(error), remedy, "every lab")]
    return [
        Check("sandbox", True, "comes up", "", "every lab"),
        _attempt("links", make_links, "every lab", "modprobe veth bridge"),
        *(
            _attempt(f"{engine} rules", partial(load_rules, engine), "NAT", REMEDIES[engine])
            for engine in Engine
        ),
        _attempt("NAT timers", set_timers, "NAT", "modprobe nf_conntrack; a writable /proc/sys"),
        _attempt("capture ring", open_ring, "captures", "a kernel with CONFIG_PACKET"),
        _netem(),
    ]


def _attempt(name: str, work: Callable[[], str], needed_for: str, remedy: str) -> Check:
    """``work`` says what it did, or raises; a tool that is absent has a check of its own."""
    try:
        return Check(name, True, work(), "", needed_for)
    except FileNotFoundError as error:
        return Check(name, None, f"not tried: {error}", "", needed_for)
    except (TestbedError, OSError, subprocess.TimeoutExpired) as error:
        return Check(name, False, _message(error), remedy, needed_for)


def _message(error: Exception) -> str:
    return error.message if isinstance(error, TestbedError) else str(error)


def make_links() -> str:
    """A veth pair and a bridge in this network namespace."""
    home = kernel.current_netns()
    netlink = Netlink("doctor")
    try:
        ends = [VethEnd(home, f"probe{n}", 2 + n, f"0a:00:00:00:00:0{n}") for n in (0, 1)]
        netlink.send([veth(*ends), bridge("probe-bridge", 4, "0a:00:00:00:00:04")])
    finally:
        netlink.close()
        os.close(home)
    return "veths and bridges can be made"


def profile_rules() -> dict[str, list[tuple[Engine, str]]]:
    """What each profile of the catalogue loads into its router, and its daemon's table."""
    found = {}
    for name, profile in catalogue().items():
        steps = plan(probe_bench(profile), {name: profile})
        texts = [(step.engine, step.text) for step in steps.of(LoadRules)]
        texts += [(Engine.NFTABLES, step.chains) for step in steps.of(ServePortMapping)]
        found[name] = texts
    return found


def load_rules(
    engine: Engine, rules: Mapping[str, Sequence[tuple[Engine, str]]] | None = None
) -> str:
    """The very rules of every profile, one after the other, in this network namespace."""
    complaints: dict[str, str] = {}
    tried = set()
    for name, texts in (profile_rules() if rules is None else rules).items():
        for one, text in texts:
            if one is not engine:
                continue
            tried.add(name)
            if complaint := _feed(LOADERS[engine], text):
                complaints.setdefault(name, complaint)
    if complaints:
        first = brief(next(iter(complaints.values())))
        names = ", ".join(complaints)
        raise OSError(
            f"the rules of {len(complaints)} of {len(tried)} profiles are refused"
            f" ({names}); the first complaint: {first}"
        )
    return f"those of {len(tried)} profiles load"


def set_timers() -> str:
    """Conntrack's sysctls, which exist once its module is there."""
    for timer in _TIMERS:
        try:
            kernel.write_sysctl(f"net.netfilter.nf_conntrack_{timer}", "7")
        except FileNotFoundError as error:
            raise OSError(str(error)) from error  # no tool that is absent, but a module
    return "can be set"


def open_ring() -> str:
    """A capture ring on loopback."""
    ring = Ring(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), "lo", _RING_BYTES)
    ring.open()
    ring.close()
    return "opens"


def _netem() -> Check:
    """The one trial whose failure is no fault: the delay line does the same."""
    ok, found = None, "absent: the userspace delay line is used"
    netlink = Netlink("doctor")
    with contextlib.suppress(TestbedError, OSError):
        if netem_available(netlink.socket):
            ok, found = True, "in the kernel"
    netlink.close()
    return Check("netem", ok, found, "", "delays by the kernel")


def _feed(command: Sequence[str], text: str) -> str:
    """What the program complains of; empty if it took ``text``."""
    done = subprocess.run(
        command, input=text.encode(), capture_output=True, timeout=_TOOL_DEADLINE, check=False
    )
    if done.returncode == 0:
        return ""
    return done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"


def _be_the_child(work: Callable[[], list[Check]], held: int) -> NoReturn:
    code = 1
    try:
        found = json.dumps([check.to_json() for check in work()]).encode()
        os.write(held, found)
        code = 0
    except BaseException:
        traceback.print_exc()  # no fault of the machine's: show all of it
    finally:
        os._exit(code)


def _read_to_end(fd: int, deadline: float) -> bytes:
    text = b""
    while select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
        part = os.read(fd, 65536)
        if not part:
            return text
        text += part
    return b""
