"""What kind of NAT are we behind?  RFC 5780's tests, without sockets.

`Discovery` says which request to send from which socket, and is told what came back.
UDP only; hairpinning excepted, it sees what one host sees: mapping and filtering.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from . import stun
from .errors import ProtocolError
from .stun import Address, Attribute, Class, Message

# RFC 8489 section 6.2.1 sends seven times in 39.5 s.  A test that is meant to fail costs the
# whole schedule, so this one is shorter: requests at 0, 0.5 and 1.5 s, failure at 3 s.
WAITS = (0.5, 1.0, 1.5)  # seconds after each request


class Dependence(StrEnum):
    """RFC 4787 section 4.1 of mappings, section 5 of filters."""

    ENDPOINT_INDEPENDENT = "endpoint_independent"
    ADDRESS_DEPENDENT = "address_dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address_and_port_dependent"


class Test(StrEnum):
    """Which question is asked; RFC 5780 sections 4.3, 4.4 and 3.4."""

    __test__ = False  # not one of pytest's

    MAPPING_I = "mapping I"  # to the primary address
    MAPPING_II = "mapping II"  # to the other IP, the same port
    MAPPING_III = "mapping III"  # to the other IP and port
    FILTERING_II = "filtering II"  # answer me from the other IP and port
    FILTERING_III = "filtering III"  # answer me from the other port
    HAIRPIN = "hairpin"  # from a second socket to our own mapped address


@dataclass(frozen=True)
class Ask:
    """Send ``message`` to ``to`` from socket ``socket`` until answered or `WAITS` are over."""

    test: Test
    socket: int  # 0 and 2: of the mapping tests; 1: of the filtering tests, which no one else uses
    to: Address
    message: Message


@dataclass(frozen=True)
class Behaviour:
    """What was found out.  None: that could not be learnt; ``why`` says so in words."""

    mapping: Dependence | None = None
    filtering: Dependence | None = None
    hairpin: bool | None = None
    translated: bool | None = None  # False: the server sees our own address
    mapped: Address | None = None
    why: str = ""


@dataclass
class Discovery:
    """One run against the server at ``server``; ``local`` is socket 0's own address.

    Call `ask` for what is to be done next, until it gives None, and `answered` or
    `silent` with what came of it.  Then `behaviour` has the result.
    """

    server: Address
    local: Address
    behaviour: Behaviour = field(default_factory=Behaviour)
    _todo: list[Ask] = field(default_factory=list)
    _seen: dict[Test, Address] = field(default_factory=dict)
    _other: Address | None = None
    _opened: bool = False

    def __post_init__(self) -> None:
        self._todo = [Ask(Test.MAPPING_I, 0, self.server, stun.request())]

    def ask(self) -> Ask | None:
        """The next question, None when all is known."""
        return self._todo[0] if self._todo else None

    def answered(self, data: bytes, source: Address) -> bool:
        """Take an answer in; False where it is none to the question (keep waiting then)."""
        asked = self._todo[0]
        if asked.test is Test.HAIRPIN:
            if data != asked.message.encode():
                return False
            self._note(hairpin=True)
            self._todo.pop(0)
            return True
        try:
            message = stun.decode(data)
        except ProtocolError:
            return False
        if message.transaction != asked.message.transaction or message.method != stun.BINDING:
            return False
        if message.klass not in (Class.SUCCESS, Class.ERROR):
            return False
        if not self._from_where_it_should(asked, source):
            return False
        self._todo.pop(0)
        if message.klass is Class.ERROR or message.mapped is None:
            self._refused(asked.test, message.error)
        else:
            self._heard(asked, message, message.mapped)
        return True

    def silent(self) -> None:
        """Nobody answered in time: for some tests that is the answer."""
        test = self._todo.pop(0).test
        match test:
            case Test.MAPPING_I:
                where = "the server" if not self._opened else "the filtering tests' socket"
                self._end(f"no answer at {where}: UDP may be blocked")
            case Test.MAPPING_II | Test.MAPPING_III:
                self._end("the server's other address does not answer")
            case Test.FILTERING_II:
                self._todo.insert(0, self._filtering(Test.FILTERING_III, stun.CHANGE_PORT))
            case Test.FILTERING_III:
                self._note(filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT)
            case Test.HAIRPIN:
                self._note(hairpin=False)

    def _from_where_it_should(self, asked: Ask, source: Address) -> bool:
        """A server that ignores CHANGE-REQUEST would make every filter look open."""
        if self._other is None or asked.test not in (Test.FILTERING_II, Test.FILTERING_III):
            return source == asked.to
        port = self._other[1]
        return source == ((self.server[0], port) if asked.test is Test.FILTERING_III
                          else self._other)  # fmt: skip

    def _refused(self, test: Test, code: int | None) -> None:
        self._end(f"the server answers {test} with error {code}: no RFC 5780 there")

    def _heard(self, asked: Ask, message: Message, mapped: Address) -> None:
        match asked.test:
            case Test.MAPPING_I if self._opened:
                both = stun.CHANGE_IP | stun.CHANGE_PORT
                self._todo.insert(0, self._filtering(Test.FILTERING_II, both))
            case Test.MAPPING_I:
                self._first(message, mapped)
            case Test.MAPPING_II if mapped == self._seen[Test.MAPPING_I]:
                self._mapping_is(Dependence.ENDPOINT_INDEPENDENT)
            case Test.MAPPING_II:
                assert self._other is not None  # from the first answer
                self._seen[Test.MAPPING_II] = mapped
                self._todo.insert(0, Ask(Test.MAPPING_III, 0, self._other, stun.request()))
            case Test.MAPPING_III if mapped == self._seen[Test.MAPPING_II]:
                self._mapping_is(Dependence.ADDRESS_DEPENDENT)
            case Test.MAPPING_III:
                self._mapping_is(Dependence.ADDRESS_AND_PORT_DEPENDENT)
            case Test.FILTERING_II:
                self._note(filtering=Dependence.ENDPOINT_INDEPENDENT)
            case Test.FILTERING_III:
                self._note(filtering=Dependence.ADDRESS_DEPENDENT)

    def _first(self, message: Message, mapped: Address) -> None:
        """Section 4.3, test I: are we translated, and has the server a second address?"""
        self._seen[Test.MAPPING_I] = mapped
        self._note(translated=mapped != self.local, mapped=mapped)
        self._other = message.address(Attribute.OTHER_ADDRESS)
        if self._other is None:
            self._end("the server has no OTHER-ADDRESS: it answers no RFC 5780 questions")
            return
        if mapped == self.local:
            self._mapping_is(Dependence.ENDPOINT_INDEPENDENT)
            return
        elsewhere = (self._other[0], self.server[1])
        self._todo.insert(0, Ask(Test.MAPPING_II, 0, elsewhere, stun.request()))

    def _mapping_is(self, found: Dependence) -> None:
        """Then the filter, with a socket that has spoken to nobody (section 4.4)."""
        self._note(mapping=found)
        self._opened = True
        self._todo.append(Ask(Test.MAPPING_I, 1, self.server, stun.request()))
        if self.behaviour.translated:
            own = self._seen[Test.MAPPING_I]
            self._todo.append(Ask(Test.HAIRPIN, 2, own, stun.request()))

    def _filtering(self, test: Test, change: int) -> Ask:
        return Ask(test, 1, self.server, stun.request(change=change))

    def _note(self, **found: Dependence | bool | Address) -> None:
        self.behaviour = Behaviour(**{**vars(self.behaviour), **found})

    def _end(self, why: str) -> None:
        self.behaviour = Behaviour(**{**vars(self.behaviour), "why": why})
        self._todo.clear()
