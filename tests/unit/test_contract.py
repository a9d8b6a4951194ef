"""The peer contract: what is said, in which order, and that the schema file is it."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import PeerError
from testbed.model import contract, contract_lines
from testbed.model.contract import (
    Accounted,
    AddressVerdict,
    Close,
    Closed,
    Command,
    Configure,
    Connected,
    Dial,
    Echo,
    Echoed,
    Endpoint,
    Event,
    Failed,
    FailureClass,
    Heard,
    How,
    IceParameters,
    Keeping,
    Listening,
    Lost,
    Mode,
    Observed,
    Offer,
    Offered,
    Options,
    Path,
    PortMapping,
    Reachability,
    Reachable,
    Ready,
    Reserved,
    Role,
    RungName,
    RungReached,
    Stayed,
    Step,
    StepName,
    Transport,
    TurnServer,
    Upgraded,
    Verdicts,
)
from testbed.model.contract_lines import Fault, MalformedError, decode_command, decode_event, encode
from testbed.stacks.order import TRANSITIONS, State, name_of, step

endpoints = st.builds(
    Endpoint, address=st.ip_addresses(v=4), port=st.integers(min_value=1, max_value=65535)
)
nonces = st.binary(min_size=16, max_size=16).map(bytes.hex)
instants = st.integers(min_value=0, max_value=2**63)
texts = st.text(max_size=40)
ice_parameters = st.builds(
    IceParameters, ufrag=texts, pwd=texts, candidates=st.lists(texts, max_size=3).map(tuple)
)
offers = st.builds(
    Offer,
    addresses=st.lists(endpoints, max_size=3).map(tuple),
    ice=st.none() | ice_parameters,
    multiaddrs=st.lists(texts, max_size=3).map(tuple),
)
turn_servers = st.builds(
    TurnServer,
    server=endpoints,
    transport=st.sampled_from(Transport),
    username=texts,
    password=texts,
)
configures = st.builds(
    Configure,
    version=st.just(2),
    role=st.sampled_from(Role),
    transport=st.sampled_from(Transport),
    local_address=st.ip_addresses(v=4),
    port=st.integers(min_value=1, max_value=65535),
    stun=st.none() | endpoints,
    turn=st.none() | turn_servers,
    relays=st.lists(texts, max_size=2).map(tuple),
    observers=st.lists(texts, max_size=3).map(tuple),
    session=st.text("0123456789abcdef", min_size=32, max_size=32),
    seed=st.integers(min_value=0, max_value=2**64),
    options=st.builds(Options, mode=st.sampled_from(Mode), relay_only=st.booleans()),
    keep=st.none()
    | st.builds(
        Keeping,
        keepalive=st.none() | st.floats(min_value=0.1, max_value=9),
        patience=st.floats(min_value=0.1, max_value=9),
    ),
)
address_verdicts = st.builds(AddressVerdict, address=endpoints, verdict=st.sampled_from(Reachable))
commands: st.SearchStrategy[Command] = st.one_of(
    configures,
    st.builds(Dial, remote=offers, start_at=instants),
    st.builds(Echo, bytes=st.integers(min_value=1, max_value=contract.ECHO_LIMIT)),
    st.just(Close()),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Listening, at=instants, local=endpoints),
    st.builds(Observed, at=instants, address=endpoints, server=endpoints),
    st.builds(Reserved, at=instants, relay=endpoints, circuit=st.none() | texts),
    st.builds(Reachability, at=instants, status=st.sampled_from(Reachable)),
    st.builds(Ready, at=instants, addresses=st.lists(texts, min_size=1, max_size=2).map(tuple)),
    st.builds(
        Verdicts,
        at=instants,
        v1=st.none() | st.sampled_from(Reachable),
        v2=st.none() | st.lists(address_verdicts, max_size=2).map(tuple),
    ),
    st.builds(Offered, at=instants, offer=offers),
    st.builds(
        Connected, at=instants, local=endpoints, remote=endpoints, path=st.sampled_from(Path)
    ),
    st.builds(
        Upgraded,
        at=instants,
        local=endpoints,
        remote=endpoints,
        how=st.sampled_from(How),
        attempts=st.integers(min_value=0, max_value=9),
    ),
    st.builds(Lost, at=instants, path=st.sampled_from(Path), reason=texts),
    st.builds(Stayed, at=instants, reason=texts),
    st.builds(
        Step,
        at=instants,
        name=st.sampled_from(StepName),
        attempt=st.integers(min_value=0, max_value=9),
        realtime=instants,
    ),
    st.builds(Echoed, at=instants, bytes=st.integers(min_value=0, max_value=100)),
    st.builds(Heard, at=instants, nonce=nonces),
    st.builds(Failed, at=instants, failure=st.sampled_from(FailureClass), reason=texts),
    st.builds(Closed, at=instants),
)


def schema_of(root: str) -> dict[str, Any]:
    text = files("testbed.stacks").joinpath("contract.schema.json").read_text()
    whole = json.loads(text)
    return {"$schema": whole["$schema"], "$defs": whole["$defs"], **whole[root]}


VALIDATORS = {
    root: jsonschema.Draft202012Validator(schema_of(root)) for root in ("command", "event")
}


@given(commands)
def test_command_survives_the_wire(command: Command) -> None:
    line = encode(command)
    assert line.count(b"\n") == 1
    assert decode_command(line) == command
    VALIDATORS["command"].validate(json.loads(line))


@given(events)
def test_event_survives_the_wire(event: Event) -> None:
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode_event(line) == event
    VALIDATORS["event"].validate(json.loads(line))


@given(commands | events, st.data())
def test_every_missing_field_is_refused(message: Command | Event, data: st.DataObject) -> None:
    content = json.loads(encode(message))
    optional = {Failed: {"detail"}, Configure: {"keep"}}.get(type(message), set())
    del content[data.draw(st.sampled_from(sorted(content.keys() - optional)))]
    assert_refused(message, content)


@given(commands | events)
def test_an_unknown_field_is_refused(message: Command | Event) -> None:
    assert_refused(message, json.loads(encode(message)) | {"extra": 1})


def assert_refused(message: Command | Event, content: dict[str, Any]) -> None:
    """By the models and by the schema file alike."""
    line = json.dumps(content).encode()
    root, decode = (
        ("command", decode_command) if isinstance(message, Command) else ("event", decode_event)
    )
    with pytest.raises(PeerError, match="not a valid"):
        decode(line)
    assert not VALIDATORS[root].is_valid(content)


def test_a_missing_nested_field_is_named() -> None:
    with pytest.raises(PeerError, match=r"listening\.local\.port"):
        decode_event(b'{"event": "listening", "at": 1, "local": {"address": "1.2.3.4"}}')


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"not json",
        b'{"event": "connected"}',
        b'{"event": "nonsense", "at": 1}',
        b'{"event": "closed", "at": "1"}',
        b'{"event": "closed", "at": -1}',
        b'{"event": "echoed", "at": 1, "bytes": 1.5}',
        b'{"event": "listening", "at": 1, "local": {"address": "::1", "port": 1}}',
        b'{"event": "listening", "at": 1, "local": {"address": "1.1.1.1", "port": 0}}',
        b'{"event": "closed", "at": 1}' + b" " * contract.LINE_LIMIT,
    ],
)
def test_a_malformed_event_is_refused(line: bytes) -> None:
    with pytest.raises(PeerError):
        decode_event(line)


def test_another_version_is_refused() -> None:
    line = encode(example_configure()).replace(b'"version":2', b'"version":1')
    with pytest.raises(PeerError, match="version"):
        decode_command(line)


def example_configure() -> Configure:
    return decode_command(  # type: ignore[return-value]
        b'{"command":"configure","version":2,"role":"dialer","transport":"udp",'
        b'"local_address":"10.0.0.2","port":4001,"stun":null,"turn":null,"relays":[],"observers":[],'
        b'"session":"00112233445566778899aabbccddeeff","seed":1,'
        b'"options":{"mode":"punch","relay_only":false}}'
    )


def test_the_schema_file_is_what_the_models_say() -> None:
    stored = json.loads(files("testbed.stacks").joinpath("contract.schema.json").read_text())
    remedy = "python -m testbed.model.contract_lines > testbed/stacks/contract.schema.json"
    assert stored == contract_lines.schema(), f"out of date; run: {remedy}"


# Order

HERE = Endpoint.of(("10.0.0.2", 4001))
OFFER = Offer(addresses=(), ice=None)
MESSAGES: dict[str, Command | Event] = {
    name_of(message): message
    for message in (
        example_configure(),
        Dial(remote=OFFER, start_at=0),
        Echo(bytes=1),
        Close(),
        Listening(at=0, local=HERE),
        Observed(at=0, address=HERE, server=HERE),
        Reserved(at=0, relay=HERE, circuit=None),
        PortMapping(at=0, service="pcp", external=HERE, trouble=None),
        Reachability(at=0, status=Reachable.PRIVATE),
        Ready(at=0, addresses=("/ip4/29.0.0.34/tcp/4001/p2p/Q",)),
        Verdicts(at=0, v1=Reachable.PRIVATE, v2=None),
        Offered(at=0, offer=OFFER),
        Connected(at=0, local=HERE, remote=HERE, path=Path.DIRECT),
        Upgraded(at=0, local=HERE, remote=HERE, how=How.PUNCHED, attempts=1),
        RungReached(at=0, rung=RungName.DIRECT, remote=HERE),
        Lost(at=0, path=Path.DIRECT, reason=""),
        Stayed(at=0, reason=""),
        Step(at=0, name=StepName.CONNECT_SENT, attempt=1, realtime=0),
        Echoed(at=0, bytes=1),
        Heard(at=0, nonce="0f" * 16),
        Accounted(at=0, statements=(), keys=()),
        Failed(at=0, failure=FailureClass.TIMEOUT, reason=""),
        Closed(at=0),
    )
}


def test_every_word_of_the_table_is_a_message_and_the_reverse() -> None:
    assert {word for _, word in TRANSITIONS} == set(MESSAGES)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("word", MESSAGES)
def test_only_the_table_is_allowed(state: State, word: str) -> None:
    if (state, word) in TRANSITIONS:
        assert step(state, MESSAGES[word]) is TRANSITIONS[state, word]
    else:
        with pytest.raises(PeerError, match="out of order"):
            step(state, MESSAGES[word])


def test_a_session_of_the_usual_kind_is_in_order() -> None:
    state = State.START
    for word in (
        *("configure", "listening", "observed", "offer", "dial", "connected"),
        *("echo", "echoed", "echo", "echoed", "close", "closed"),
    ):
        state = step(state, MESSAGES[word])
    assert state is State.CLOSED


@pytest.mark.parametrize("word", ["ready", "verdicts"])
def test_a_node_that_serves_is_told_nothing_but_to_close(word: str) -> None:
    state = State.START
    for one in ("configure", word, "close", "closed"):
        state = step(state, MESSAGES[one])
    assert state is State.CLOSED
    assert {said for at, said in TRANSITIONS if at is State.SERVING} == {
        *("reachability", "failed", "close"),
    }


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.START, "dial"),
        (State.GATHERING, "configure"),
        (State.GATHERING, "dial"),
        (State.OFFERED, "connected"),
        (State.DIALING, "echo"),
        (State.SERVING, "dial"),
        (State.FAILED, "connected"),
        (State.CLOSING, "close"),
        *((State.CLOSED, word) for word in MESSAGES),
    ],
)
def test_the_wrong_order_is_refused(state: State, word: str) -> None:
    with pytest.raises(PeerError, match="out of order"):
        step(state, MESSAGES[word])


@given(st.lists(st.sampled_from(sorted(MESSAGES)), max_size=30))
def test_nothing_is_said_after_closed(words: list[str]) -> None:
    state = State.START
    for word in words:
        try:
            after = step(state, MESSAGES[word])
        except PeerError:
            continue
        assert state is not State.CLOSED
        state = after


@pytest.mark.parametrize(
    ("line", "field", "found", "due"),
    [
        (b'{"event":"offer","at":1,"offer":{"addresses":null,"ice":null}}', "offer.addresses",
         "null", "a list"),
        (b'{"event":"listening","at":1,"local":"here:1"}', "local", '"here:1"', "an object"),
        (b'{"event":"listening","at":1.5,"local":{"address":"1.2.3.4","port":1}}', "at", "1.5",
         "an integer"),
        (b'{"event":"listening","at":1,"local":{"address":"1.2.3","port":1}}', "local.address",
         '"1.2.3"', "an IPv4 address"),
        (b'{"event":"listening","at":1,"local":{"address":"1.2.3.4","port":0}}', "local.port", "0",
         "1 or more"),
        (b'{"event":"echoed","at":1,"bytes":99999999}', "bytes", "99999999", "16777216 or less"),
        (b'{"event":"stayed","at":1,"reason":3}', "reason", "3", "a text"),
        (b'{"event":"reachability","at":1,"status":"no"}', "status", '"no"',
         "'unknown', 'private' or 'public'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_beside_what_is_due(
    line: bytes, field: str, found: str, due: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_event(line)
    error = caught.value
    assert (error.fault, error.field, error.found, error.due) == (
        Fault.WRONG_VALUE, field, found, due,
    )  # fmt: skip
    assert f"{field} of {error.named} is {found}, {due} is due" in str(error)
