"""A world as a picture: a tree below the internet, on a terminal and as SVG."""

from collections.abc import Iterator, Mapping
from html import escape

from rich.text import Text
from rich.tree import Tree

from testbed.model.frozen import FrozenValue
from testbed.model.regions import Regions
from testbed.model.topology import INTERNET, Host, Impairment, Interface, Link, Router, Topology

_STYLES = {"network": "bold", "router": "cyan", "host": "green"}
_FILLS = {"network": "#e8e8e8", "router": "#cfe8f5", "host": "#d8f0d0"}
_BOX, _HEIGHT = 168, 56  # a box, in pixels
_ACROSS, _DOWN = 16, 72  # between two boxes
_MARGIN = 16
_LINE = 16  # from one line of text to the next


class Box(FrozenValue):
    """A node of the tree: what stands in it, on the line to it, and what is below."""

    kind: str  # network, router or host
    lines: tuple[str, ...]
    link: str = ""
    below: tuple["Box", ...] = ()


def tree(topology: Topology, options: Mapping[str, str]) -> Box:
    """The picture of ``topology``; ``options`` has, by router, the option that sets its profile."""
    parts = _parts(topology)

    def below(network: str) -> tuple[Box, ...]:
        return tuple(
            router(node, by)
            if isinstance(node, Router) and by is node.interfaces[0]
            else _end(node, by, parts)
            for node in topology.nodes
            for by in node.interfaces
            if by.network == network
        )

    def router(one: Router, by: Interface) -> Box:
        chosen = f" ({options[one.name]})" if one.name in options else ""
        scope = next(net.scope for net in topology.networks if net.name == one.lan)
        lines = (
            f"{one.name}{_which(one, by)}{_count(by.addresses)}",
            f"{one.profile}{chosen}",
            f"{one.lan}, {scope}{_forwards(one)}",
        )
        return Box("router", lines, _way_there(one, by), below(one.lan))

    return Box("network", (INTERNET, *_apart(topology.regions)), below=below(INTERNET))


def _apart(regions: Regions) -> Iterator[str]:
    """How far its regions are from one another."""
    trips = [rtt_ms for _, _, rtt_ms in regions.pairs]
    if trips:
        yield f"{len(regions.names)} regions, {min(trips):g} to {max(trips):g} ms apart"


def _forwards(router: Router) -> str:
    return f", {len(router.forwards)} ports forwarded" if router.forwards else ""


def _way_there(node: Router | Host, by: Interface) -> str:
    region = node.region if by.network == INTERNET else None
    tunnel = f"a tunnel over {by.over}" if by.over is not None else None
    return ", ".join(filter(None, (region, tunnel, link_words(by.link))))


def _end(node: Host | Router, by: Interface, parts: Mapping[str, str]) -> Box:
    """A host, or an uplink that stands by."""
    kind = "host" if isinstance(node, Host) else "router"
    said = parts.get(node.name) if kind == "host" else "stands by"
    name = f"{node.name}{_which(node, by)}{_count(by.addresses)}"
    return Box(kind, (name, *filter(None, [said])), _way_there(node, by))


def _which(node: Host | Router, by: Interface) -> str:
    """The interface, where a node has several; a star at the one of the default route."""
    if len(node.interfaces) == 1:
        return ""
    return f" {by.name}{'*' if by is node.interfaces[0] else ''}"


def _count(addresses: int) -> str:
    return f", {addresses} addresses" if addresses > 1 else ""


def _parts(topology: Topology) -> dict[str, str]:
    """What each host plays, in words."""
    roles = topology.roles
    plays = dict.fromkeys(topology.observers, "observes")
    plays |= {roles.a: "dials", roles.b: "listens", roles.relay: "relays"}
    more = dict.fromkeys(roles.peers, "in the mesh")
    if roles.dns is not None:
        more[roles.dns] = "answers names"
    for name, part in more.items():
        plays[name] = f"{plays[name]}, {part}" if name in plays else part
    return plays


def link_words(link: Link) -> str:
    """What a link does, in few words; nothing where it does nothing."""
    up, down = _way(link.up), _way(link.down)
    ways = up if up == down else f"up {up or 'bare'}; down {down or 'bare'}"
    return ", ".join(filter(None, [ways, f"MTU {link.mtu}" if link.mtu is not None else ""]))


def _way(way: Impairment) -> str:
    words = []
    if way.delay_ms:
        words.append(f"{way.delay_ms:g} ms" + (f" ± {way.jitter_ms:g}" if way.jitter_ms else ""))
    if way.loss:
        words.append(f"loss {way.loss:.3g}" + (f" in bursts of {way.burst:g}" if way.burst else ""))
    if way.rate_mbit is not None:
        words.append(f"{way.rate_mbit:g} Mbit/s")
    if way.reorder:
        words.append(f"reorder {way.reorder:.3g}")
    if way.duplicate:
        words.append(f"duplicate {way.duplicate:.3g}")
    if way.largest is not None:
        words.append(f"black hole over {way.largest}")
    return ", ".join(words)


def drawn(box: Box) -> Tree:
    """For a terminal."""
    root = Tree(_label(box))
    _grow(root, box)
    return root


def _grow(branch: Tree, box: Box) -> None:
    for one in box.below:
        _grow(branch.add(_label(one)), one)


def _label(box: Box) -> Text:
    first, *rest = box.lines
    words = Text(first, style=_STYLES[box.kind])
    if rest:
        words.append(f"  {', '.join(rest)}", style="default")
    if box.link:
        words.append(f"  [{box.link}]", style="dim")
    return words


def svg(box: Box, title: str) -> str:
    """The picture as a file of its own, which asks nobody for a font."""
    width = _breadth(box) + 2 * _MARGIN
    height = _depth(box) * (_HEIGHT + _DOWN) - _DOWN + 2 * _MARGIN
    body = "\n".join(_draw(box, _MARGIN, _MARGIN))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12" '
        f'text-anchor="middle" role="img">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _breadth(box: Box) -> int:
    """Of the box with all that is below it."""
    below = [_breadth(one) for one in box.below]
    return max(_BOX, sum(below) + _ACROSS * (len(below) - 1)) if below else _BOX


def _depth(box: Box) -> int:
    return 1 + max((_depth(one) for one in box.below), default=0)


def _draw(box: Box, left: int, top: int) -> Iterator[str]:
    """The box in the middle above what is below it, which begins at ``left``."""
    middle = left + _breadth(box) // 2
    at = left
    for one in box.below:
        reach = _breadth(one)
        child, ends = at + reach // 2, top + _HEIGHT + _DOWN
        yield (
            f'<line x1="{middle}" y1="{top + _HEIGHT}" x2="{child}" y2="{ends}" stroke="#666666"/>'
        )
        if one.link:
            yield f'<text x="{child}" y="{ends - 6}" fill="#666666">{escape(one.link)}</text>'
        yield from _draw(one, at, ends)
        at += reach + _ACROSS
    yield (
        f'<rect x="{middle - _BOX // 2}" y="{top}" width="{_BOX}" height="{_HEIGHT}" rx="6" '
        f'fill="{_FILLS[box.kind]}" stroke="#333333"/>'
    )
    first = top + (_HEIGHT - _LINE * (len(box.lines) - 1)) // 2 + 4
    for number, line in enumerate(box.lines):
        weight = "" if number else ' font-weight="bold"'
        yield f'<text x="{middle}" y="{first + number * _LINE}"{weight}>{escape(line)}</text>'
