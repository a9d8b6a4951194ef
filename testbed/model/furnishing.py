"""What each router of a topology really does: its profile with the forwards of the world."""

from collections.abc import Container, Mapping
from dataclasses import replace

from testbed.errors import ProfileError
from testbed.model.behaviour import Behaviour, Exposed, Forward
from testbed.model.profile import Profile
from testbed.model.topology import Router, Topology


def furnished(topology: Topology, profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """By router, its profile with what the world forwards.

    ``profiles`` are by name.  ProfileError for an unknown one, and where the world forwards
    ports of a router that does not translate, or that the profile forwards already.
    """
    return {router.name: _furnished(topology, router, profiles) for router in topology.routers}


def behaviours(topology: Topology, profiles: Mapping[str, Profile]) -> dict[str, Behaviour]:
    """The same, as what the routers declare."""
    return {name: one.behaviour for name, one in furnished(topology, profiles).items()}


def _furnished(topology: Topology, router: Router, profiles: Mapping[str, Profile]) -> Profile:
    if router.profile not in profiles:
        raise ProfileError(f"unknown profile {router.profile!r}", node=router.name)
    profile = profiles[router.profile]
    spare = max(one.addresses for one in router.interfaces)
    if spare > 1 and profile.behaviour.pooling is None:
        raise ProfileError(
            f"the world gives it {spare} addresses, and {profile.name} maps to the first alone",
            node=router.name,
            remedy="leave `addresses` out, or name a profile that pools: paired-pool, for one",
        )
    inside = [node.name for node in topology.attached(router.lan)]
    if profile.behaviour.exposed is Exposed.EACH_HOST and len(inside) > router.external_addresses:
        raise ProfileError(
            f"{profile.name} gives each host an external address, and the world has "
            f"{router.external_addresses} for {len(inside)} hosts",
            node=router.name,
            remedy="give the router more `addresses`, or fewer hosts to its LAN",
        )
    if not router.forwards:
        return profile
    if not profile.behaviour.translates:
        raise ProfileError(
            f"the world forwards ports of it, and {profile.name} translates none", node=router.name
        )
    own = {(one.protocol, one.external_port) for one in profile.behaviour.forwards}
    for one in router.forwards:
        if (one.protocol, one.external_port) in own:
            port = f"{one.protocol}/{one.external_port}"
            raise ProfileError(
                f"the world forwards {port} of it, and {profile.name} does", node=router.name
            )
    added = (
        Forward(one.protocol, one.external_port, inside.index(one.node), one.internal_port)
        for one in router.forwards
    )
    forwards = (*profile.behaviour.forwards, *added)
    return replace(profile, behaviour=replace(profile.behaviour, forwards=forwards))


def nats(
    topology: Topology, profiles: Mapping[str, Profile], among: Container[str] | None = None
) -> dict[str, Profile]:
    """Every NAT of ``topology`` as it is certified, by a name; of the routers ``among``, if given.

    A router whose ports the world forwards is another NAT than its profile.  The bench has two
    hosts: what is forwarded to any but the first target leads to the second of them.
    """
    found: dict[str, Profile] = {}
    made = furnished(topology, profiles)
    for router in topology.routers:
        if among is not None and router.name not in among:
            continue
        profile = made[router.name]
        if router.forwards:
            name = f"{profile.name}.{topology.name}.{router.name}"
            profile = replace(profile, name=name, behaviour=_on_bench(profile.behaviour))
        found[profile.name] = profile
    return found


def _on_bench(behaviour: Behaviour) -> Behaviour:
    targets = list(dict.fromkeys(forward.host for forward in behaviour.forwards))
    forwards = (
        replace(forward, host=min(targets.index(forward.host), 1)) for forward in behaviour.forwards
    )
    return replace(behaviour, forwards=tuple(forwards))
