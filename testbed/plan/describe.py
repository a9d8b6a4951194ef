"""A plan in words: one line a step, rule texts indented below theirs."""

from testbed.model.address import MAIN
from testbed.model.plan import (
    AddBridge,
    AddLink,
    AddNeighbour,
    AddNode,
    AddRoute,
    AddRule,
    Blackhole,
    End,
    LoadRules,
    Plan,
    ServeNames,
    ServePortMapping,
    SetSysctls,
    Step,
    WriteFiles,
)
from testbed.model.topology import Impairment


def describe(plan: Plan) -> str:
    """Every step of ``plan`` in order, as `testbed plan` prints it."""
    return "\n".join(_say(step) for step in plan.steps) + "\n"


def _say(step: Step) -> str:
    match step:
        case AddNode(node, kind, sysctls):
            return f"node       {node} ({kind}){_settings(sysctls)}"
        case AddBridge(node, ifname, mac, addresses):
            return f"bridge     {node}:{ifname} {mac} {' '.join(map(str, addresses))}"
        case AddLink():
            return _say_link(step)
        case AddNeighbour(node, ifname, address, mac):
            return f"neighbour  {node}:{ifname} {address} is at {mac}"
        case AddRoute(node, destination, gateway, ifname, metric, table):
            more = f" metric {metric}" if metric else ""
            more += f" table {table}" if table != MAIN else ""
            return f"route      {node}: {destination} via {gateway or 'the link'} on {ifname}{more}"
        case AddRule(node, source, table):
            return f"rule       {node}: from {source} by table {table}"
        case Blackhole(node, destination):
            return f"blackhole  {node}: {destination}"
        case SetSysctls(node, sysctls):
            return f"sysctls    {node}{_settings(sysctls)}"
        case LoadRules() | ServePortMapping() | ServeNames() | WriteFiles():
            return _say_texts(step)


def _say_texts(step: LoadRules | ServePortMapping | ServeNames | WriteFiles) -> str:
    match step:
        case LoadRules(node, engine, text, _):
            return f"rules      {node} ({engine})\n{_indented(text)}"
        case ServePortMapping(node, gateway, chains, config):
            return f"service    {node} ({gateway})\n{_indented(chains)}\n{_indented(config)}"
        case ServeNames(node, address, names):
            table = "\n".join(f"{one}\t{name}" for name, one in names)
            return f"names      {node} (DNS at {address})\n{_indented(table)}"
        case WriteFiles(node, hosts, resolv):
            return f"files      {node}\n{_indented(hosts)}\n{_indented(resolv)}"


def _say_link(link: AddLink) -> str:
    ways = ""
    if not link.transparent:
        ways = f"\n             -> {_ways(link.a_to_b)}\n             <- {_ways(link.b_to_a)}"
    mtu = f" mtu {link.mtu}" if link.mtu is not None else ""
    tunnel = link.tunnel
    inside = f" inside of UDP {tunnel.near} -- {tunnel.far}" if tunnel is not None else ""
    return f"link       {_say_end(link.a)} -- {_say_end(link.b)}{mtu}{inside}{ways}"


def _say_end(end: End) -> str:
    addresses = " ".join(map(str, end.addresses)) or f"port of {end.bridge}"
    return f"{end.node}:{end.ifname} {end.mac} {addresses}"


def _ways(impairment: Impairment) -> str:
    rate = f", {impairment.rate_mbit:g} Mbit/s" if impairment.rate_mbit else ""
    queue = f", queue {impairment.queue_ms:g} ms" if impairment.rate_mbit else ""
    usual = Impairment()
    queue = queue if impairment.queue_ms != usual.queue_ms else ""
    more = {
        "in bursts of": impairment.burst,
        "reorder": impairment.reorder or None,
        "duplicate": impairment.duplicate or None,
        "black hole over": impairment.largest,
    }
    rest = "".join(f", {word} {value:g}" for word, value in more.items() if value is not None)
    return (
        f"{impairment.delay_ms:g} ms +- {impairment.jitter_ms:g} ms, "
        f"loss {impairment.loss:.2%}{rate}{queue}{rest}"
    )


def _settings(sysctls: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"\n             {key} = {value}" for key, value in sysctls)


def _indented(text: str) -> str:
    return "\n".join("             " + line for line in text.rstrip().splitlines())
