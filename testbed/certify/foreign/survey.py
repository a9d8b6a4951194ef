"""Where the router of a rule set stands: which interfaces and addresses its rules speak of.  Pure.

The interface towards the internet is the one that translated packets leave by; the LAN's is the
other one.  Where rules leave that open it is asked, never guessed.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.certify.foreign.rule import SOURCE, TRANSLATING, Action, Addresses, Rule
from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue

WAN, LAN = "wan", "lan"
_LOOPBACK = "lo"
_WILD = "+*"
_LONGEST_NAME = 15
_ROOM = 29  # the longest prefix that has room for a router, two hosts and the ends
_WIDE = 16  # a shorter one stands for many LANs: one /24 of it is taken
_POOL = 16  # addresses of a pool that the router's interface bears; more are routed to it
_SHARED = IPv4Network("100.64.0.0/10")


class Told(FrozenValue):
    """What the user says; None and empty where the rules are to tell it."""

    wan: str | None = None
    lan: str | None = None
    external: tuple[IPv4Address, ...] = ()
    inside: IPv4Interface | None = None
    without: tuple[str, ...] = ()  # interfaces that the bench need not have


def told(
    wan: str | None, lan: str | None, addresses: Sequence[str], without: Sequence[str]
) -> Told:
    """The user's words: an address is external, one with a prefix length is the LAN's."""
    external, inside = [], list[IPv4Interface]()
    for word in addresses:
        try:
            if "/" in word:
                inside.append(IPv4Interface(word))
            else:
                external.append(IPv4Address(word))
        except ValueError as error:
            raise UsageError(f"--address {word}: {error}") from error
    if len(inside) > 1:
        raise UsageError(f"--address {inside[1]}: the bench has one LAN, {inside[0]} is told, too")
    return Told(wan, lan, tuple(external), inside[0] if inside else None, tuple(without))


class Survey(FrozenValue):
    """The bench that a rule set asks for.  ``external``: addresses outside, the router's first."""

    wan: str
    lan: str
    external: tuple[IPv4Address, ...]
    routed: tuple[IPv4Network, ...]
    inside: IPv4Network | None
    hosts: tuple[IPv4Address, ...]  # LAN addresses that rules name
    router: IPv4Address | None  # its address in the LAN, if that is told
    translates: bool = True  # else the internet has a route to the LAN


def survey(rules: Sequence[Rule], told: Told) -> Survey:
    """UsageError where the rules name what the bench has not got, or leave open what is what."""
    wan, lan = _interfaces(rules, told)
    inside = told.inside.network if told.inside else _inside(rules, lan)
    external = list(dict.fromkeys((*told.external, *_external(rules, inside))))
    routed = tuple(_routed(rules, inside))
    hosts = dict.fromkeys(_hosts(rules, inside)) if inside else {}
    router = told.inside.ip if told.inside else None
    translates = any(rule.action in SOURCE for rule in rules)
    return Survey(wan, lan, tuple(external), routed, inside, tuple(hosts), router, translates)


# -- interfaces ---------------------------------------------------------------


def _interfaces(rules: Sequence[Rule], told: Told) -> tuple[str, str]:
    named = list(dict.fromkeys(name for rule in rules for name in sorted(rule.interfaces)))
    gone = {_LOOPBACK, *told.without}
    for name in told.without:
        if name not in named:
            raise UsageError(f"--without {name}: the rules do not name it")
    wan = told.wan or _only("--wan", [n for n in _outward(rules) if n not in gone], WAN, told.lan)
    left = [name for name in named if name not in gone and not _matches(name, wan)]
    inward = [name for name in _inward(rules) if name in left]
    lan = told.lan or _only("--lan", inward or left, LAN, wan)
    for name in (wan, lan):
        if len(name) > _LONGEST_NAME or "/" in name:
            raise UsageError(f"{name}: no interface can be called so")
    if wan == lan:
        raise UsageError(f"{wan} cannot be the interface to the internet and to the LAN at once")
    foreign = [n for n in named if n not in gone and not (_matches(n, wan) or _matches(n, lan))]
    if foreign:
        users = [rule.text for rule in rules if rule.interfaces & set(foreign)]
        without = " ".join(f"--without {name}" for name in foreign)
        raise UsageError(
            f"the rules name {', '.join(foreign)}, and the bench has {wan} towards the internet "
            f"and {lan} towards the LAN: {users[0]} would match nothing",
            remedy=f"say --wan and --lan, or {without} if the router may be measured without",
        )
    return wan, lan


def _only(option: str, found: Iterable[str], usual: str, other: str | None) -> str:
    """The one that was found, as a name that an interface can have; ``usual`` if none was."""
    names = list(dict.fromkeys(_concrete(name) for name in found))
    names = [name for name in names if name != other]
    if len(names) > 1:
        raise UsageError(
            f"the rules name {', '.join(names)}, and do not tell which of them leads to the "
            f"{'internet' if usual == WAN else 'LAN'}",
            remedy=f"say {option} {names[0]}, for instance; --without NAME leaves one out",
        )
    return names[0] if names else usual


def _concrete(name: str) -> str:
    return name[:-1] + "0" if name[-1:] in _WILD else name


def _matches(pattern: str, name: str) -> bool:
    if pattern[-1:] in _WILD:
        return name.startswith(pattern[:-1])
    return pattern == name


def _outward(rules: Sequence[Rule]) -> Iterator[str]:
    """Interfaces that packets leave by with another source, or are sent on from."""
    left = [name for rule in _source(rules) for name in _of_callers(rules, rule, "goes_out")]
    forwards = (rule for rule in rules if rule.action is Action.DNAT)
    # Reflection forwards what comes from the LAN, too: it tells less than the former.
    yield from left or [n for rule in forwards for n in _of_callers(rules, rule, "came_in")]


def _inward(rules: Sequence[Rule]) -> Iterator[str]:
    """Interfaces that translation leaves out: ``! -o docker0``."""
    for rule in _source(rules):
        yield from _of_callers(rules, rule, "not_out")
    for rule in rules:
        if rule.action is Action.DNAT:
            yield from _of_callers(rules, rule, "not_in")


def _source(rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules that translate a source on the way out, and not for a reflected call."""
    for rule in rules:
        if rule.action in SOURCE and not any(_is_private(one) for one in rule.destination):
            yield rule


def _of_callers(
    rules: Sequence[Rule], rule: Rule, field: str, seen: frozenset[str] = frozenset()
) -> Iterator[str]:
    """The rule's own interfaces, or those of the rules that lead to its chain."""
    own: tuple[str, ...] = getattr(rule, field)
    if own or rule.chain in seen:
        yield from own
        return
    for caller in rules:
        if caller.jumps_to == rule.chain:
            yield from _of_callers(rules, caller, field, seen | {rule.chain})


# -- addresses ----------------------------------------------------------------


def _inside(rules: Sequence[Rule], lan: str) -> IPv4Network | None:
    """The LAN: what is translated, else what is spoken of as a source, else who is forwarded to."""
    translated = list(_source(rules))
    mine = [rule for rule in translated if lan in rule.not_out]
    looked = (mine, translated, [r for r in rules if r.action is Action.JUMP], rules)
    for some in looked:
        for rule in some:
            for network in rule.source:
                if _is_private(network) and 0 < network.prefixlen <= _ROOM:
                    return _narrowed(network)
    for rule in rules:
        for network in rule.to if rule.action is Action.DNAT else ():
            if _is_private(network):
                whole = network.prefixlen <= _ROOM
                return network if whole else network.supernet(new_prefix=24)
    return _around_a_host(rules)


def _around_a_host(rules: Sequence[Rule]) -> IPv4Network | None:
    """The network of a single LAN host that is translated: 1:1 NAT."""
    for rule in rules:
        for network in rule.source if rule.action in SOURCE else ():
            if _is_private(network) and network.prefixlen > _ROOM:
                return network.supernet(new_prefix=24)
    return None


def _narrowed(network: IPv4Network) -> IPv4Network:
    if network.prefixlen >= _WIDE:
        return network
    return next(network.subnets(new_prefix=24))


def _is_private(network: IPv4Network) -> bool:
    return network.is_private or network.subnet_of(_SHARED)


def _external(rules: Sequence[Rule], inside: IPv4Network | None) -> Iterator[IPv4Address]:
    """Addresses that packets get, or that are forwarded: of small pools, every one."""
    for network in _outside(rules, inside):
        if network.num_addresses <= _POOL:
            yield from network


def _routed(rules: Sequence[Rule], inside: IPv4Network | None) -> Iterator[IPv4Network]:
    for network in dict.fromkeys(_outside(rules, inside)):
        if network.num_addresses > _POOL:
            yield network


def _outside(rules: Sequence[Rule], inside: IPv4Network | None) -> Iterator[IPv4Network]:
    for rule in rules:
        if rule.action is Action.SNAT:
            yield from _beyond(rule.to, inside)
        elif rule.action is Action.DNAT and (rule.came_in or _is_leading(rules, rule)):
            yield from _beyond(rule.destination, inside)


def _is_leading(rules: Sequence[Rule], rule: Rule) -> bool:
    """A rule of a base chain, or of one that is reached."""
    bases = {r.chain for r in rules} - {r.jumps_to for r in rules if r.jumps_to}
    return rule.chain in bases or any(r.jumps_to == rule.chain for r in rules)


def _beyond(networks: Addresses, inside: IPv4Network | None) -> Iterator[IPv4Network]:
    for network in networks:
        if inside is None or not network.overlaps(inside):
            yield network


def _hosts(rules: Sequence[Rule], inside: IPv4Network) -> Iterator[IPv4Address]:
    """Single addresses of the LAN: who is forwarded to first, then who is spoken of."""
    forwarded = (rule.to for rule in rules if rule.action is Action.DNAT)
    spoken = (rule.source for rule in rules if rule.action in TRANSLATING)
    for networks in (*forwarded, *spoken):
        for network in networks:
            if network.num_addresses == 1 and network.subnet_of(inside):
                yield network.network_address
