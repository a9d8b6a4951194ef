"""STUN and RFC 5780's discovery, without sockets."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.traversal import stun, stun_server
from testbed.traversal.errors import ProtocolError
from testbed.traversal.nat_discovery import Behaviour, Dependence, Discovery
from testbed.traversal.stun import Address, Attribute, Class, Message
from testbed.traversal.stun_server import Addresses

# RFC 5769 section 2.2: a response with software, mapped address, integrity and fingerprint.
RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
EIM = Dependence.ENDPOINT_INDEPENDENT
ADM = Dependence.ADDRESS_DEPENDENT
APDM = Dependence.ADDRESS_AND_PORT_DEPENDENT
SERVER = Addresses(("29.0.0.34", 3478), ("29.0.0.35", 3479))
CLIENT = "10.0.0.2"


def test_the_published_response_is_read() -> None:
    message = stun.decode(RESPONSE)
    assert message.klass is Class.SUCCESS
    assert message.mapped == ("192.0.2.1", 32853)
    assert message.value(Attribute.SOFTWARE) == b"test vector"


# All but the FINGERPRINT's own type and length: renamed, it would be another attribute.
CHECKED = [*range(len(RESPONSE) - 8), *range(len(RESPONSE) - 4, len(RESPONSE))]


@pytest.mark.parametrize("at", CHECKED)
def test_a_bit_changed_anywhere_is_noticed(at: int) -> None:
    changed = bytearray(RESPONSE)
    changed[at] ^= 0x40
    with pytest.raises(ProtocolError):
        stun.decode(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    head = b"\x01\x01" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12)
    for candidate in (data, head + data):
        try:
            message = stun.decode(candidate)
        except ProtocolError:
            continue
        for kind in Attribute:
            message.address(kind)
        assert message.error is None or 300 <= message.error <= 699


@given(st.ip_addresses(), st.integers(0, 65535), st.binary(min_size=12, max_size=12))
def test_an_address_survives_the_way(ip: object, port: int, transaction: bytes) -> None:
    value = stun.address_value((str(ip), port), transaction)
    attributes = ((int(Attribute.XOR_MAPPED_ADDRESS), value),)
    sent = Message(stun.BINDING, Class.SUCCESS, transaction, attributes)
    assert stun.decode(sent.encode()).mapped == (str(ip), port)


@given(st.integers(0, 0xFFF), st.sampled_from(Class), st.binary(min_size=12, max_size=12))
def test_method_and_class_survive_the_way(method: int, klass: Class, transaction: bytes) -> None:
    read = stun.decode(Message(method, klass, transaction).encode())
    assert (read.method, read.klass, read.transaction) == (method, klass, transaction)


# The server


def _asked(message: Message, local: Address = SERVER.primary) -> stun_server.Answer:
    told = stun_server.answer(message.encode(), ("29.0.0.2", 4001), local, SERVER)
    assert told is not None
    return told


def test_a_server_answers_from_where_it_is_asked_to() -> None:
    assert _asked(stun.request()).source == ("29.0.0.34", 3478)
    assert _asked(stun.request(change=stun.CHANGE_PORT)).source == ("29.0.0.34", 3479)
    both = stun.CHANGE_IP | stun.CHANGE_PORT
    assert _asked(stun.request(change=both)).source == ("29.0.0.35", 3479)
    assert _asked(stun.request(change=both), SERVER.all[3]).source == ("29.0.0.34", 3478)
    assert _asked(stun.request(response_port=9)).destination == ("29.0.0.2", 9)


def test_what_must_be_understood_and_is_not_is_refused_with_420() -> None:
    told = _asked(Message(stun.BINDING, Class.REQUEST, attributes=((0x7FFF, b""),)))
    message = stun.decode(told.data)
    assert message.error == stun_server.UNKNOWN_ATTRIBUTE
    assert message.value(Attribute.UNKNOWN_ATTRIBUTES) == b"\x7f\xff"


def test_a_server_of_one_address_does_not_pretend_to_have_two() -> None:
    asked = stun.request(change=stun.CHANGE_IP)
    alone = Addresses(SERVER.primary)
    told = stun_server.answer(asked.encode(), ("29.0.0.2", 1), alone.primary, alone)
    assert told is not None
    assert stun.decode(told.data).error == stun_server.UNKNOWN_ATTRIBUTE


def test_padding_with_a_response_port_is_refused() -> None:
    asked = stun.request(response_port=9)
    padded = Message(
        asked.method, asked.klass, attributes=(*asked.attributes, (0x0026, bytes(1000)))
    )
    assert stun.decode(_asked(padded).data).error == stun_server.BAD_REQUEST


# Discovery, through a NAT in twenty lines


@dataclass
class Nat:
    """Maps and filters by two dependences; None lets nothing out."""

    mapping: Dependence | None
    filtering: Dependence = APDM
    hairpin: bool = False
    mapped: dict[object, int] = field(default_factory=dict)
    contacts: dict[int, set[object]] = field(default_factory=dict)

    @staticmethod
    def part(dependence: Dependence, remote: Address) -> object:
        return {EIM: None, ADM: remote[0], APDM: remote}[dependence]

    def out(self, port: int, remote: Address) -> Address | None:
        if self.mapping is None:
            return None
        key = (port, self.part(self.mapping, remote))
        external = self.mapped.setdefault(key, 20000 + len(self.mapped))
        self.contacts.setdefault(external, set()).add(self.part(self.filtering, remote))
        return "29.0.0.2", external

    def admits(self, source: Address, port: int) -> bool:
        return self.part(self.filtering, source) in self.contacts.get(port, set())


def _discover(nat: Nat | None, addresses: Addresses = SERVER, obeys: bool = True) -> Behaviour:
    """Run the tests; ``nat`` of None is a public host, ``obeys`` False a deaf server."""
    local = (CLIENT if nat else "29.0.0.2", 1000)
    run = Discovery(addresses.primary, local)
    while (asked := run.ask()) is not None:
        source = nat.out(1000 + asked.socket, asked.to) if nat else ("29.0.0.2", 1000)
        told = None
        if source and asked.to in addresses.all:
            data = asked.message.encode()
            told = stun_server.answer(data, source, asked.to, addresses)
        elif source and nat and asked.to[0] == "29.0.0.2" and nat.hairpin:
            assert run.answered(asked.message.encode(), source)
            continue
        leaves = told.source if told and obeys else asked.to
        if told and (nat is None or nat.admits(leaves, told.destination[1])):
            if not run.answered(told.data, leaves):
                run.silent()
        else:
            run.silent()
    return run.behaviour


@pytest.mark.parametrize("mapping", Dependence)
@pytest.mark.parametrize("filtering", Dependence)
def test_each_of_the_nine_nats_is_recognised(mapping: Dependence, filtering: Dependence) -> None:
    found = _discover(Nat(mapping, filtering))
    assert (found.mapping, found.filtering, found.hairpin) == (mapping, filtering, False), found.why
    assert found.translated
    assert found.mapped == ("29.0.0.2", 20000)


def test_a_hairpin_is_seen() -> None:
    assert _discover(Nat(EIM, hairpin=True)).hairpin


def test_without_a_nat_nothing_is_translated() -> None:
    found = _discover(None)
    assert not found.translated
    assert found.filtering is EIM


def test_blocked_udp_is_not_taken_for_a_kind_of_nat() -> None:
    found = _discover(Nat(None))
    assert (found.mapping, found.filtering) == (None, None)
    assert "blocked" in found.why


def test_a_server_that_answers_from_the_wrong_address_opens_no_filter() -> None:
    assert _discover(Nat(EIM, APDM), obeys=False).filtering is not EIM


def test_a_server_without_a_second_address_is_named_as_the_reason() -> None:
    found = _discover(Nat(EIM), Addresses(SERVER.primary))
    assert found.mapping is None
    assert "OTHER-ADDRESS" in found.why


def test_an_answer_of_a_stranger_is_none() -> None:
    run = Discovery(SERVER.primary, (CLIENT, 1000))
    asked = run.ask()
    assert asked is not None
    told = _asked(asked.message)
    assert not run.answered(told.data, ("29.9.9.9", 3478))
    assert not run.answered(b"", SERVER.primary)
    assert run.answered(told.data, SERVER.primary)
