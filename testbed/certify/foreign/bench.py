"""The bench that fits a rule set: the prober's own, at the place that the rules speak of.  Pure."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.certify.foreign.rule import Action, Ruleset
from testbed.certify.foreign.survey import Survey
from testbed.certify.prober.limits import LookFor
from testbed.errors import UsageError
from testbed.model.behaviour import Forward
from testbed.model.plan import LoadRules, Plan, ServePortMapping, SetSysctls
from testbed.model.presets import probe_bench
from testbed.model.profile import Profile
from testbed.plan.addresses import LABS
from testbed.plan.planner import plan
from testbed.plan.site import Site

ROUTER = "nat-a"
_LINKS = range(28, 19, -1)  # prefix lengths of the network that router and provider share
_HOSTS = 2
_MANY = 6  # the server's addresses where the NAT has a pool: some differ by the remote address
_OFTEN = (53, 80)  # destination ports that firewalls let out where they let out little
_TRIED = 12
_OF_THE_PROFILE = LoadRules | SetSysctls | ServePortMapping


def bench(survey: Survey, profile: Profile) -> Plan:
    """The steps of the bench, without any rules.  UsageError where the addresses cannot be."""
    topology = probe_bench(profile)
    if len(survey.external) > 1 or survey.routed:
        hosts = (replace(h, addresses=_MANY) if h.addresses > 1 else h for h in topology.hosts)
        topology = replace(topology, hosts=tuple(hosts))
    site = _site(survey)
    for number in range(LABS):
        made = plan(topology, {profile.name: profile}, number, sites={ROUTER: site})
        if _is_sound(made, survey):
            kept = tuple(step for step in made.steps if not isinstance(step, _OF_THE_PROFILE))
            return replace(made, steps=kept)
    raise UsageError("the rules name addresses all over the bench's own", remedy="say --address")


def _is_sound(made: Plan, survey: Survey) -> bool:
    """Does no address of the rest of the bench lie where the rules have something else?"""
    mine = {*made.addresses[ROUTER], *(step for step in survey.hosts), made.internal[ROUTER]}
    others = [ip for ip in made.owners if ip not in mine and made.owners[ip] not in ("a", "b")]
    taken = [IPv4Network(address) for address in survey.external]
    taken += [*survey.routed, *((survey.inside,) if survey.inside else ())]
    outside = [ip for ip in others if made.owners[ip] != "core"]
    return not any(ip in network for ip in outside for network in taken)


def _site(survey: Survey) -> Site:
    site = Site(survey.wan, survey.lan, published=not survey.translates)
    if survey.external:
        site = _outside(site, survey)
    elif survey.routed:
        site = replace(site, routed=survey.routed)
    if survey.inside is None:
        return site
    inside, taken = survey.inside, set(survey.hosts[:_HOSTS])
    free = (address for address in inside.hosts() if address not in taken)
    router = survey.router or next(free)
    hosts = [*survey.hosts[:_HOSTS]]
    hosts += [address for address in _first(free, _HOSTS + 1) if address != router]
    if len(hosts) < _HOSTS:
        raise UsageError(f"{inside} has no room for a router and {_HOSTS} hosts")
    bears = IPv4Interface((router, inside.prefixlen))
    return replace(site, inside=bears, hosts=tuple(hosts[:_HOSTS]))


def _first(addresses: Iterator[IPv4Address], count: int) -> list[IPv4Address]:
    return [address for address, _ in zip(addresses, range(count), strict=False)]


def _outside(site: Site, survey: Survey) -> Site:
    """The router's first address, and a network around it that has room for its provider's."""
    first, *more = survey.external
    for length in _LINKS:
        link = IPv4Network((first, length), strict=False)
        edges = (link.network_address, link.broadcast_address)
        pools = (pool for pool in survey.routed if pool.overlaps(link))
        taken = {*survey.external, *(address for pool in pools for address in pool)}
        gateway = next((address for address in link.hosts() if address not in taken), None)
        if gateway is None or first in edges or (survey.inside and link.overlaps(survey.inside)):
            continue
        bears = IPv4Interface((first, length))
        return replace(site, outside=bears, gateway=gateway, more=tuple(more), routed=survey.routed)
    raise UsageError(f"there is no room beside {first} for its provider", remedy="say --address")


def look_for(ruleset: Ruleset, steps: Plan) -> LookFor:
    """The ports that rules let out, and the forwards that lead to the bench's hosts."""
    hosts = {steps.address(name): index for index, name in enumerate(("a", "b"))}
    found = []
    for rule in ruleset.rules:
        if rule.action is not Action.DNAT or rule.port is None or rule.protocol is None:
            continue
        for network in rule.to:
            if network.network_address in hosts and network.num_addresses == 1:
                host = hosts[network.network_address]
                found.append(Forward(rule.protocol, rule.port, host, rule.to_port or rule.port))
    named = (port for r in ruleset.rules if r.action is Action.ACCEPT for port in r.ports)
    ports = tuple(dict.fromkeys((*_OFTEN, *named)))[:_TRIED]
    return LookFor(ports=ports, forwards=tuple(dict.fromkeys(found)))
