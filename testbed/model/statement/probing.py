"""What the prober saw of a NAT, from which it has a value on an axis, or why it has none."""

from enum import StrEnum

from testbed.model.packet import Endpoint
from testbed.model.statement import Statement


class Circumstance(StrEnum):
    """What an experiment met, where no number says more."""

    NOT_MEASURED = "not_measured"
    NO_TRANSLATION = "no_translation"
    FEW_MAPPINGS = "few_mappings"
    NO_OTHER_MAPPING = "no_other_mapping"
    ONE_PORT = "one_port"  # of destinations is let out
    NO_SOCKET = "no_socket"
    UNANSWERED = "unanswered"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    ANSWER_LOST = "answer_lost"
    FILTERED = "filtered"
    SOME_PRESERVED = "some_preserved"
    NO_COMMON_ADDRESS = "no_common_address"
    NOT_PRESERVED = "not_preserved"
    OWN_MAPPINGS = "own_mappings"
    NEVER_EXPIRED = "never_expired"
    SOME_COME_BACK = "some_come_back"
    THE_SAME_AGAIN = "the_same_again"
    OTHERS_AGAIN = "others_again"
    TIMER_TOO_LONG = "timer_too_long"
    NO_QUOTA_SHOWN = "no_quota_shown"
    NONE_KEPT_OUT = "none_kept_out"
    NO_OPEN_HOST = "no_open_host"
    ROUTER_UNCALLED = "router_uncalled"
    LAN_IS_PUBLIC = "lan_is_public"
    LAN_UNEXPOSED = "lan_unexposed"
    NO_FORWARD_SOUGHT = "no_forward_sought"
    NO_FORWARD = "no_forward"
    NO_SERVICE = "no_service"
    SERVICE_LACKS_IT = "service_lacks_it"
    NO_PCP = "no_pcp"
    NO_UPNP = "no_upnp"


class Met(Statement):
    """A circumstance of an experiment."""

    circumstance: Circumstance


class Besides(Statement):
    """What was seen, and what was seen besides."""

    first: Statement
    second: Statement


class Several(Statement):
    """One thing of each experiment."""

    parts: tuple[Statement, ...]


class Valued(Statement):
    """What one of several experiments comes to that do not agree."""

    value: str
    seen: Statement


class OfOpenHost(Statement):
    """What holds for the LAN host that everything from outside goes to."""

    node: str
    seen: Statement


class OfHost(Statement):
    """What holds for another LAN host."""

    node: str
    value: str


class NotLetOut(Statement):
    """The NAT forwards nothing of a protocol out."""

    protocol: str


class PortsTried(Statement):
    """Of the destination ports that were tried, those that contact was made with."""

    tried: tuple[int, ...]
    passed: tuple[int, ...]


class SeenAs(Statement):
    """How the remotes saw one local port."""

    port: int
    seen: tuple[Endpoint, ...]


class Unreturned(Statement):
    """The answer of a remote did not come in."""

    remote: Endpoint


class SizePassed(Statement):
    """A large packet came, and so did its answer."""

    size: int


class SizeLost(Statement):
    """A large packet of a local endpoint, or its answer, did not come."""

    size: int
    local: Endpoint


class OneAddress(Statement):
    """The only external addresses that were seen."""

    addresses: tuple[str, ...]


class HostAs(Statement):
    """The external addresses of one LAN host."""

    node: str
    addresses: tuple[str, ...]


class LetIn(Statement):
    """Whether a stranger, and another port of the contacted address, were let in."""

    external: Endpoint
    stranger: bool
    neighbour: bool


class PortsMapped(Statement):
    """Internal ports, each with its external one."""

    pairs: tuple[tuple[int, int], ...]


class PortsCounted(Statement):
    """How many mappings an axis was read from."""

    mappings: int


class PortsKept(Statement):
    """The lowest and the highest port that was kept, and those that were moved."""

    low: int
    high: int
    moved: tuple[tuple[int, int], ...]


class PortUnknown(Statement):
    """The external port is not known before the first contact."""

    mapping: str


class EarlySeen(Statement):
    """By which port the remote that had called early saw the host."""

    mapped: int
    seen: int


class EarlyUnmapped(Statement):
    """The same of a port that had no mapping; None: the early call came in."""

    port: int
    seen: int | None


class CallLost(Statement):
    """A call to an external endpoint did not come to the LAN host behind it."""

    target: Endpoint
    node: str


class CallCame(Statement):
    """The source that the called LAN host saw."""

    target: Endpoint
    source: Endpoint


class SourceStrange(Statement):
    """That source is neither of those that a hairpin has."""

    external: Endpoint


class SharedPort(Statement):
    """How one source port of two hosts was seen."""

    port: int
    first: Endpoint
    second: Endpoint


class SharedEnd(Statement):
    """Two hosts have one external endpoint towards one destination."""

    external: Endpoint


class AnswersLost(Statement):
    """The answers to an external endpoint do not come to its host."""

    external: Endpoint
    node: str


class CallerLost(Statement):
    """Whom the filter lets in does not come to the host, but to another one, if there is one."""

    external: Endpoint
    node: str
    instead: str | None


class InboundUntil(Statement):
    """Inbound packets kept no mapping any longer."""

    seconds: float


class InboundFor(Statement):
    """Inbound packets alone kept a mapping."""

    seconds: float


class OutboundFor(Statement):
    """Outbound packets alone; did the remote's answer come in afterwards?"""

    seconds: float
    answered: bool


class Guest(Statement):
    """Whether somebody else whom the filter lets in came in afterwards, too."""

    let_in: bool


class Watched(Statement):
    """A mapping was watched for less than its timer may be."""

    seconds: float


class Tried(Statement):
    """Idle times in seconds, and whether the mapping was alive after each."""

    samples: tuple[tuple[float, bool], ...]


class NoneRefused(Statement):
    """A LAN host got all mappings that it asked for."""

    mappings: int


class NextRefused(Statement):
    """A LAN host got so many mappings and no more, and then the other one so many."""

    mappings: int
    others: int


class CallAnswered(Statement):
    """What a caller was told that no mapping lets in."""

    port: int
    node: str
    source_port: int
    answer: str


class CallsCame(Statement):
    """Calls that nothing has let in came to one LAN host; ``missed``: the ports of others."""

    calls: int
    host: str
    missed: tuple[int, ...] = ()


class RouterTook(Statement):
    """Of the calls to the router itself, those that it took."""

    taken: int
    calls: int


class CameToLan(Statement):
    """Calls from outside that came past the translation."""

    calls: tuple[str, ...]


class LeftLan(Statement):
    """LAN hosts whose own addresses were seen outside."""

    hosts: tuple[str, ...]


class ForwardsCalled(Statement):
    """The forwards that a stranger came in by, and those that do not work."""

    found: tuple[str, ...]
    failed: tuple[str, ...]


class ForwardsReflected(Statement):
    """The forwards that the other LAN host came in by."""

    found: tuple[str, ...]
