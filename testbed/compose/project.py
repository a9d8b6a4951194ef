"""A plan as a compose project: files to bring up, look into and take down by hand.  Pure.

Each wire, and each LAN's bridge, becomes an internal network on which the host has no
address; `testbed-node` (images/base/node) finds interfaces by their address and sets routes.
What is not rendered: MAC addresses, and links that are not plain wires but for a delay
where the kernel has netem.  The core and the routers forward from the start.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed import places
from testbed.compose.source import PROFILES, WORLDS, Source
from testbed.errors import UsageError
from testbed.lab.services import gateway
from testbed.model.behaviour import Gateway
from testbed.model.frozen import FrozenValue
from testbed.model.plan import (
    AddBridge,
    AddLink,
    AddNode,
    AddRoute,
    Blackhole,
    End,
    Engine,
    LoadRules,
    NodeKind,
    Plan,
    ServeNames,
    ServePortMapping,
    SetSysctls,
)
from testbed.model.topology import INTERNET, Host, Impairment

TEMPLATES = places.shared("compose")
_GATEWAY = Path(gateway.__file__).parent  # a program of the standard library alone
RESOLVER = "127.0.0.1"  # in the container, where nobody listens
_SUFFIXES = {Engine.NFTABLES: "nft", Engine.IPTABLES: "rules"}
# Of the machine's bridges and of IPv6, which the engine itself leaves out.
_NOT_OURS = ("net.bridge.", "net.ipv6.")


@dataclass
class Service:
    """A node, as the template has it."""

    node: str
    image: str
    waits_for: list[str]
    sysctls: dict[str, str]
    networks: dict[str, IPv4Address] = field(default_factory=dict)
    interfaces: dict[str, IPv4Address] = field(default_factory=dict)
    more: list[str] = field(default_factory=list)  # IFNAME=ADDRESS/LENGTH beyond the first
    delays: list[str] = field(default_factory=list)  # IFNAME=MILLISECONDS
    routes: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)  # names of files


class Layout(FrozenValue):
    """Nodes by name, in an order in which each finds what it waits for; networks by name."""

    services: dict[str, Service]
    networks: dict[str, IPv4Network]


def layout(plan: Plan) -> Layout:
    """What the plan becomes, but for its rules."""
    services = {service.node: service for service in _services(plan)}
    networks = dict(_networks(plan, services))
    for route in plan.of(AddRoute):
        services[route.node].routes.append(f"{_destination(route.destination)}={route.gateway}")
    for hole in plan.of(Blackhole):
        services[hole.node].routes.append(f"{_destination(hole.destination)}=blackhole")
    return Layout(services, networks)


def engines(network: IPv4Network) -> IPv4Address:
    """The address that the engine wants for its own: the last, which nobody has."""
    return network.broadcast_address - 1


def render(source: Source) -> dict[str, str]:
    """The project's files, by their paths.  Errors as of `Source.plan`."""
    plan = source.plan()
    _require_single(plan)
    _require_no_names(plan)
    made = layout(plan)
    files = {**source.files(), **dict(_rules(plan, made.services))}
    hosts = {node: str(ips[0]) for node, ips in plan.addresses.items()}
    values: dict[str, Any] = {
        "topology": plan.topology.name,
        "services": list(made.services.values()),
        "networks": made.networks,
        "engines": engines,
        "resolver": RESOLVER,
        "hosts": hosts,
        "command": source.command(),
        "certifiable": source.certifiable,
        "router": next((one.name for one in plan.topology.routers), "core"),
        "host": plan.topology.hosts[0].name,
    }
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for name in ("compose.yaml", "README.md", "start"):
        files[name] = templates.get_template(f"{name}.j2").render(values)
    return files


def write(files: dict[str, str], folder: Path) -> None:
    """UsageError where it cannot be written, or holds something else."""
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / "compose.yaml").exists():
            raise UsageError(f"{folder} is not empty", remedy="choose another -o")
        kept = (f"{name}/*.toml" for name in (PROFILES, WORLDS))
        for stale in (file for glob in ("rules/*/*", *kept) for file in folder.glob(glob)):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()  # all there are loaded
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)  # containers without privilege read it
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}", remedy="choose another -o") from error


def _destination(network: IPv4Network) -> str:
    return str(network) if network.prefixlen else "default"


def _services(plan: Plan) -> Iterator[Service]:
    """In an order in which each finds what it waits for: from the core outwards."""
    late = {step.node: step.sysctls for step in plan.of(SetSysctls)}
    public = {host.name for host in plan.topology.attached(INTERNET)}
    public.add(plan.topology.roles.relay)
    routers = [step.node for step in plan.of(AddNode) if step.kind is not NodeKind.HOST]
    for step in plan.of(AddNode):
        settings = (*step.sysctls, *late.get(step.node, ()))
        is_host = step.kind is NodeKind.HOST
        image = "router" if not is_host else "coturn" if step.node in public else "peer"
        yield Service(
            step.node,
            f"testbed-{image}",
            routers if is_host else [],
            {key: value for key, value in settings if not key.startswith(_NOT_OURS)},
        )


def _networks(plan: Plan, services: dict[str, Service]) -> Iterator[tuple[str, IPv4Network]]:
    for bridge in plan.of(AddBridge):
        name = f"{bridge.node}-{bridge.ifname}"
        _attach(services[bridge.node], name, bridge.ifname, bridge.addresses)
        yield name, bridge.addresses[0].network
    for link in plan.of(AddLink):
        _require_plain(link)
        if link.b.bridge is not None:
            _join(services[link.a.node], f"{link.b.node}-{link.b.bridge}", link.a, link.a_to_b)
            continue
        name = f"{link.a.node}-{link.a.ifname}"
        _join(services[link.a.node], name, link.a, link.a_to_b)
        _join(services[link.b.node], name, link.b, link.b_to_a)
        yield name, link.a.addresses[0].network


def _require_single(plan: Plan) -> None:
    """UsageError for a node of several interfaces: a project has no rules of routing."""
    for node in plan.topology.nodes:
        if len(node.interfaces) > 1:
            what = "interfaces" if isinstance(node, Host) else "uplinks"
            raise UsageError(
                f"{node.name} has {len(node.interfaces)} {what}, a compose project has one a node",
                remedy="run it as a lab: testbed up",
            )


def _require_no_names(plan: Plan) -> None:
    """UsageError for a world with a DNS server: the engine answers a project's names itself."""
    for step in plan.of(ServeNames):
        raise UsageError(
            f"{step.node} answers names, which in a compose project the engine does",
            remedy="run it as a lab: testbed up",
        )


def _require_plain(link: AddLink) -> None:
    """UsageError for a link that a project cannot have."""
    ways = (link.a_to_b, link.b_to_a)
    if link.mtu is not None or any(way != Impairment(delay_ms=way.delay_ms) for way in ways):
        raise UsageError(
            f"the link of {link.a.node} does more than delay, which a compose project cannot do",
            remedy="run it as a lab: testbed up; or write another link",
        )


def _join(service: Service, network: str, end: End, impairment: Impairment) -> None:
    _attach(service, network, end.ifname, end.addresses)
    if impairment.delay_ms:
        service.delays.append(f"{end.ifname}={impairment.delay_ms:g}")


def _attach(
    service: Service, network: str, ifname: str, addresses: tuple[IPv4Interface, ...]
) -> None:
    service.networks[network] = service.interfaces[ifname] = addresses[0].ip
    service.more += [f"{ifname}={address}" for address in addresses[1:]]


def _rules(plan: Plan, services: dict[str, Service]) -> Iterator[tuple[str, str]]:
    for number, step in enumerate(plan.of(LoadRules)):
        name = f"rules/{step.node}/{number:02}.{_SUFFIXES[step.engine]}"
        services[step.node].rules.append(name)
        yield name, step.text
    for served in plan.of(ServePortMapping):
        yield f"rules/{served.node}/portmap.nft", served.chains
        if served.gateway is Gateway.MINIUPNPD:
            yield f"rules/{served.node}/miniupnpd.conf", served.config
            continue
        yield f"rules/{served.node}/gateway.json", served.config
        for module in sorted(_GATEWAY.glob("*.py")):
            yield f"rules/{served.node}/gateway/{module.name}", module.read_text(encoding="utf-8")
