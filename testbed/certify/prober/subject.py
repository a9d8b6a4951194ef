"""One protocol through the NAT: the bench it is measured on, and what is known so far."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from testbed.certify.allowance import ENOUGH, Allowance
from testbed.certify.measured import Finding, unseen
from testbed.certify.prober.bench import LAN, SERVER, STALL, STRANGER, Bench, Contact, End
from testbed.certify.prober.rounds import Rounds
from testbed.errors import ProbeError
from testbed.model.behaviour import Filtering, Forward, Mapping, Protocol
from testbed.model.statement.probing import Circumstance

A, B = LAN


@dataclass
class Subject:
    """One protocol through the NAT: the bench, the public ends, what is known so far.

    Where the NAT allows few mappings, an experiment says with `afford` how many it is about to
    open, and may find itself on a fresh bench.
    """

    bench: Bench
    protocol: Protocol
    rounds: Rounds
    allowance: Allowance = ENOUGH
    ports: tuple[int, ...] = ()  # destination ports that are let out; empty: blocked
    tried: tuple[int, ...] = ()  # destination ports of which those are
    forwarded: tuple[Forward, ...] = ()  # looked for: these ports answer to rules of their own
    used: set[int] = field(default_factory=set)  # external ports seen
    pool: dict[str, set[str]] = field(default_factory=dict)  # LAN host -> external addresses
    open_host: str | None = None  # the LAN host that everything from outside goes to
    external: str = ""
    mapping: Finding = field(default_factory=lambda: unseen(Circumstance.NOT_MEASURED))
    filtering: Finding = field(default_factory=lambda: unseen(Circumstance.NOT_MEASURED))
    allocation: Finding = field(default_factory=lambda: unseen(Circumstance.NOT_MEASURED))
    mapped: list[tuple[int, int]] = field(default_factory=list)  # ports inside, and outside
    _public: dict[tuple[str, int, int], End] = field(default_factory=dict)
    _local: dict[tuple[str, int], End] = field(default_factory=dict)
    _spent: list[str] = field(default_factory=list)  # the hosts of this bench's mappings
    _own: ExitStack | None = None  # closes the bench, where no other subject uses it
    _watch: tuple[str, ExitStack] | None = None  # the experiment under way, and what times it

    @property
    def plain(self) -> bool:
        """A router that neither translates nor filters: everybody may call its hosts."""
        open_to_all = self.filtering.value == Filtering.ENDPOINT_INDEPENDENT
        return self.mapping.value == Mapping.NONE and open_to_all

    @property
    def addresses(self) -> set[str]:
        """Every external address seen."""
        return set().union(*self.pool.values())

    @property
    def quiet(self) -> str:
        """A LAN host that only mappings lead to, if there is one."""
        return B if self.open_host == A else A

    def afford(self, *hosts: str) -> bool:
        """Have room for a new mapping of each of ``hosts``: here, or on a fresh bench.

        False where the NAT allows fewer than that at once.
        """
        if not self.allowance.covers(hosts):
            return False
        if not self.allowance.covers([*self._spent, *hosts]):
            self._begin_anew()
        self._spent += hosts
        return True

    def beside(self, *hosts: str) -> "Subject":
        """As `afford`, for what goes on for a while: the same, or one on a bench beside it."""
        if self.allowance.covers([*self._spent, *hosts]):
            self._spent += hosts
            return self
        bench, _ = self.rounds.bench()
        fresh: dict[str, Any] = {"_public": {}, "_local": {}, "_own": None, "_watch": None}
        return replace(self, bench=bench, used=set(), _spent=[*hosts], **fresh)

    def _begin_anew(self) -> None:
        if self._watch:
            self._watch[1].close()
        if self._own:
            self._own.close()
        self.bench, self._own = self.rounds.bench()
        self.used, self._public, self._local, self._spent = set(), {}, {}, []
        if self._watch:
            what, timed = self._watch
            timed.enter_context(self.bench.brisk(what))

    @contextmanager
    def brisk(self, what: str, within: float = STALL) -> Iterator[None]:
        """As `Bench.brisk`, on each bench that the experiment is on."""
        with ExitStack() as timed:
            timed.enter_context(self.bench.brisk(f"{self.protocol} {what}", within))
            self._watch = f"{self.protocol} {what}", timed
            yield
        self._watch = None

    def saw(self, contact: Contact) -> None:
        """Remember how a contact from inside was seen."""
        address, port = contact.source
        self.used.add(port)
        self.pool.setdefault(contact.caller.node, set()).add(address)

    def public(self, node: str = SERVER, index: int = 0, port: int = 0) -> End:
        """The public end at the node's ``index``-th address and ``port``-th usable port."""
        return self.at(node, self.ports[port], index)

    def at(self, node: str, number: int, index: int = 0) -> End:
        """The public end at port ``number``."""
        key = (node, index, number)
        if key not in self._public:
            self._public[key] = self.bench.end(self.protocol, node, number, index)
        return self._public[key]

    def free(self, node: str, port: int | None) -> int | None:
        """``port``, or None where a forward that is not this host's own may hold it."""
        for forward in self.forwarded:
            here = (forward.external_port, forward.internal_port)
            if port in here and (*here, LAN[forward.host]) != (port, port, node):
                return None
        return port

    def local(self, node: str = A, port: int | None = None) -> End:
        """A LAN host's end: at ``port`` always the same one, else on a fresh port."""
        if port is None:
            return self.bench.end(self.protocol, node)
        key = (node, port)
        if key not in self._local:
            self._local[key] = self.bench.end(self.protocol, node, port)
        return self._local[key]

    def somebody(self, node: str = STRANGER) -> End:
        """A public end that nobody has ever contacted."""
        return self.bench.end(self.protocol, node)

    def reach(self, local: End, public: End | None = None, *, answer: bool = True) -> Contact:
        """A contact outwards that the control has shown to be possible."""
        contact = self.bench.contact(local, public or self.public(), answer=answer)
        if contact is None:
            raise ProbeError(
                f"{self.protocol} from {local.endpoint} to {(public or self.public()).endpoint} "
                "was lost, though others were let out: a limit of the router's, or packets that "
                "something else in it takes"
            )
        self.saw(contact)
        return contact

    def unused(self) -> int:
        """A fresh port that was seen on neither side of the NAT.

        Linux refuses to reuse an expired port towards the same remote until conntrack
        has collected the old entry, which may take a minute.
        """
        return next(port for port in iter(self.bench.port, None) if port not in self.used)

    def admitted(self, node: str = A) -> End | None:
        """A new public end that the filtering lets in to a mapping of ``node`` towards `public`."""
        if self.open_host not in (None, node):
            return None
        if self.filtering.value == Filtering.ENDPOINT_INDEPENDENT:
            return self.somebody()
        if self.filtering.value == Filtering.ADDRESS_DEPENDENT:
            return self.somebody(SERVER)
        return None
