"""What the peers of unified-testing meet by: Redis's commands and their encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.stacks.unified_store import LONGEST, NotRedis, Store, array, hello, in_resp3, requests


def said(store: Store, line: str) -> bytes | None:
    return store.answer(line.encode().split())


@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), max_size=4), st.data())
def test_requests_are_read_however_they_are_cut(
    wanted: list[list[bytes]], data: st.DataObject
) -> None:
    stream = b"".join(map(array, wanted))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    buffer, found = bytearray(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer += stream[start:end]
        found += list(requests(buffer))
    assert (found, bytes(buffer)) == (wanted, b"")


@pytest.mark.parametrize(
    "stream",
    [b"*1\r\n+PING\r\n", b"*x\r\n", b"*1\r\n$-1\r\n", b"*99999999\r\n", b"P" * (LONGEST + 1)],
)
def test_what_is_no_request_is_refused(stream: bytes) -> None:
    with pytest.raises(NotRedis):
        list(requests(bytearray(stream)))


def test_a_key_is_nothing_until_it_is_set() -> None:
    store = Store()
    assert said(store, "GET k") == b"$-1\r\n"
    assert said(store, "SET k v EX 60") == b"+OK\r\n"
    assert said(store, "get k") == b"$1\r\nv\r\n"
    assert said(store, "SET k w NX") == b"$-1\r\n"
    assert said(store, "EXISTS k k other") == b":2\r\n"
    assert said(store, "DEL k") == b":1\r\n"
    assert said(store, "EXISTS k") == b":0\r\n"


def test_a_list_is_taken_from_the_end_that_is_asked() -> None:
    store = Store()
    assert said(store, "RPUSH l a b c") == b":3\r\n"
    assert said(store, "LRANGE l 0 -1") == array([b"a", b"b", b"c"])
    assert said(store, "LPOP l") == b"$1\r\na\r\n"
    assert said(store, "BRPOP l 0") == array([b"l", b"c"])
    assert said(store, "BLPOP l 0") == array([b"l", b"b"])
    assert said(store, "BLPOP l 0") is None
    assert said(store, "EXISTS l") == b":0\r\n"


@pytest.mark.parametrize("line", ["EVAL x 0", "SUBSCRIBE c", "CONFIG GET save"])
def test_an_unknown_command_is_an_error_that_clients_know(line: str) -> None:
    reply = said(Store(), line)
    assert reply is not None
    assert reply.startswith(b"-ERR unknown command")


@pytest.mark.parametrize("line", ["GET", "SET k", "BLPOP l", "RPUSH l", "LRANGE l 0"])
def test_a_word_too_few_is_an_error(line: str) -> None:
    reply = said(Store(), line)
    assert reply is not None
    assert b"wrong number of arguments" in reply


@pytest.mark.parametrize("line", ["PING", "CLIENT SETINFO LIB-NAME x", "SELECT 0", "INFO"])
def test_what_clients_say_first_is_answered(line: str) -> None:
    reply = said(Store(), line)
    assert reply is not None
    assert reply[:1] in (b"+", b"$")


def test_a_list_is_no_value_and_a_value_no_list() -> None:
    store = Store()
    said(store, "SET k v")
    said(store, "RPUSH l v")
    for line in ("GET l", "LPOP k", "RPUSH k v"):
        reply = said(store, line)
        assert reply is not None
        assert reply.startswith(b"-WRONGTYPE")
    assert said(store, "LRANGE l x y") == b"-ERR value is not an integer or out of range\r\n"


def test_a_client_may_ask_for_either_protocol_and_for_no_other() -> None:
    assert hello([b"HELLO"])[0] == 2
    protocol, reply = hello([b"HELLO", b"3", b"SETNAME", b"x"])
    assert (protocol, reply[:4], reply[-4:]) == (3, b"%3\r\n", b":3\r\n")
    assert hello([b"HELLO", b"4"]) == (0, b"-NOPROTO unsupported protocol version\r\n")


def test_nothing_has_one_form_in_resp3() -> None:
    assert in_resp3(Store().answer([b"GET", b"k"]) or b"") == b"_\r\n"
    assert in_resp3(b"*-1\r\n") == b"_\r\n"
    assert in_resp3(b"$1\r\nv\r\n") == b"$1\r\nv\r\n"
