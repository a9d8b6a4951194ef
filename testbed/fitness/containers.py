"""What labs of containers need of this machine, tried; for the doctor."""

from collections.abc import Callable

from testbed.errors import TestbedError
from testbed.fitness.trials import Check
from testbed.lab.containers import images
from testbed.lab.containers.crew import Member, crew
from testbed.lab.containers.engine import AS_ROOT, START, engine, require_images, require_root
from testbed.lab.containers.remote import finish

_FOR = "labs of containers"
_DEADLINE = 10.0  # seconds for a program in a container


def checks() -> list[Check]:
    """Until the first that fails: what comes after needs it.  Nothing else needs any."""
    found = []
    for name, work, remedy in (
        ("root", _root, AS_ROOT),
        ("Docker engine", _engine, START),
        ("images", _images, "testbed build images"),
        ("containers", _container, "an engine of this machine, not one in a machine of its own"),
    ):
        found.append(_tried(name, work, remedy))
        if not found[-1].ok:
            break
    return found


def _tried(name: str, work: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, True, work(), "", _FOR)
    except (TestbedError, OSError) as error:
        known = getattr(error, "remedy", None)
        return Check(name, None, getattr(error, "message", str(error)), known or remedy, _FOR)


def _root() -> str:
    require_root()
    return "you are"


def _engine() -> str:
    with engine() as client:
        told = client.info()
    return f"{told['ServerVersion']}, cgroup v{told['CgroupVersion']} by {told['CgroupDriver']}"


def _images() -> str:
    with engine() as client:
        require_images(client)
    return "all there, and of these sources"


def _container() -> str:
    """A router that may change its own network, reached by its agent."""
    with crew([Member("doctor", images.ROUTER, True, {})]) as agents:
        process = agents["doctor"].start(["nft", "add", "table", "ip", "probe"])
        try:
            code, said = finish(process, _DEADLINE)
        except TimeoutError as error:
            raise OSError(str(error)) from error
        finally:
            process.close()
    if code:
        raise OSError(f"a router loads no rule: {said.decode(errors='replace').strip()}")
    return "come up, and load rules"
