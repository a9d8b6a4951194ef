"""The gateway's protocols, without a socket: RFC 6886, RFC 6887, WANIPConnection."""

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from testbed.lab.services.gateway import igd, kernel, natpmp, pcp, upnp
from testbed.lab.services.gateway.settings import Settings
from testbed.lab.services.gateway.table import TCP, UDP, Entry, Table

A, B = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
PLAIN = Settings(
    "wan", "lan", "f1e2d3c4-0000-4000-8000-00000000000a", 5000, 77, "10.0.0.1", "29.0.0.2",
    upnp_igd=2, nat_pmp=True, pcp=True,
)  # fmt: skip
NOW, EPOCH = 1000.0, 55
NONCE = b"abcdefghijkl"


def pmp(table: Table, opcode: int, inside: int, outside: int, seconds: int,
        client: IPv4Address = A, settings: Settings = PLAIN) -> tuple[int, int, int]:  # fmt: skip
    request = struct.pack("!BBHHHI", 0, opcode, 0, inside, outside, seconds)
    answer = natpmp.answer(settings, table, request, client, NOW, EPOCH)
    assert answer
    version, said, result, epoch, told, port, lease = struct.unpack("!BBHIHHI", answer)
    assert (version, said, epoch, told) == (0, 128 + opcode, EPOCH, inside)
    return result, port, lease


def mapping(table: Table, inside: int, outside: int, seconds: int, *, nonce: bytes = NONCE,
            protocol: int = UDP, options: bytes = b"", client: IPv4Address = A,
            settings: Settings = PLAIN) -> tuple[int, int, int]:  # fmt: skip
    head = struct.pack("!BBHI", 2, 1, 0, seconds) + IPv6Address(f"::ffff:{client}").packed
    body = struct.pack("!12sB3xHH16s", nonce, protocol, inside, outside, bytes(16))
    answer = pcp.answer(settings, table, head + body + options, client, NOW, EPOCH)
    assert answer
    assert answer[:2] == b"\2\x81"
    lifetime, epoch = struct.unpack_from("!II", answer, 4)
    assert epoch == EPOCH
    return answer[3], struct.unpack_from("!H", answer, 42)[0], lifetime


# -- NAT-PMP --------------------------------------------------------------------


def test_a_lease_of_nat_pmp_is_never_longer_than_asked() -> None:
    """Section 3.3: the gateway SHOULD NOT offer a longer one."""
    assert pmp(Table(), 1, 4001, 4001, 7) == (0, 4001, 7)
    assert pmp(Table(), 1, 4001, 4001, 10**9) == (0, 4001, PLAIN.max_lease)


def test_nat_pmp_gives_another_port_where_the_wanted_one_is_another_hosts() -> None:
    table = Table()
    assert pmp(table, 1, 4001, 4001, 600)[1] == 4001
    assert pmp(table, 1, 4001, 4001, 600, client=B)[1] == 4002


def test_the_other_transport_of_a_port_stays_with_its_host() -> None:
    """Section 3.3."""
    table = Table()
    pmp(table, 1, 4001, 4001, 600)
    assert pmp(table, 2, 4001, 4001, 600, client=B)[1] != 4001
    assert pmp(table, 2, 4001, 4001, 600)[1] == 4001


def test_an_end_by_nat_pmp_is_a_success_also_of_nothing_and_of_all() -> None:
    table = Table()
    for port in (1, 2, 3):
        pmp(table, 1, port, port, 600)
    pmp(table, 1, 4, 4, 600, client=B)
    assert pmp(table, 1, 9, 0, 0) == (0, 0, 0)
    assert pmp(table, 1, 2, 0, 0) == (0, 0, 0)
    assert pmp(table, 1, 0, 0, 0) == (0, 0, 0)
    assert [entry.address for entry in table] == [B]


def test_nat_pmp_does_not_end_what_upnp_made_static() -> None:
    table = Table()
    table.put(Entry(UDP, 4001, A, 4001, None))
    assert pmp(table, 1, 4001, 0, 0)[0] == natpmp.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"\0\x07", b"\0\x87\0\5\0\0\0\x37"),
        (b"\1\0", b"\0\x80\0\1\0\0\0\x37"),
        (b"\0\1\0\0", b"\0\x81\0\5\0\0\0\x37"),
        (b"\0\x80", None),
    ],
)
def test_what_nat_pmp_does_not_know_is_refused(request_: bytes, answer: bytes | None) -> None:
    assert natpmp.answer(PLAIN, Table(), request_, A, NOW, EPOCH) == answer


@pytest.mark.parametrize("external", ["10.9.9.9", "100.64.0.2", "192.168.1.2", "0.0.0.0"])
def test_on_an_address_that_is_not_public_nothing_is_granted(external: str) -> None:
    private = replace(PLAIN, external=external)
    assert pmp(Table(), 1, 4001, 4001, 600, settings=private)[0] == natpmp.NETWORK_FAILURE
    assert mapping(Table(), 4001, 4001, 600, settings=private)[0] == pcp.NETWORK_FAILURE
    with pytest.raises(igd.UpnpError) as error:
        igd.perform(private, Table(), A, NOW, "AddPortMapping", words())
    assert error.value.code == igd.ACTION_FAILED
    anyway = replace(private, private_wan=True)
    assert pmp(Table(), 1, 4001, 4001, 600, settings=anyway)[:2] == (0, 4001)


# -- PCP ------------------------------------------------------------------------


def test_leases_of_pcp_are_within_its_limits() -> None:
    assert mapping(Table(), 4001, 4001, 1) == (0, 4001, PLAIN.min_lease)
    assert mapping(Table(), 4001, 4001, 2**31) == (0, 4001, PLAIN.max_lease)


def test_a_renewal_by_pcp_keeps_the_port_whatever_is_suggested() -> None:
    table = Table()
    assert mapping(table, 4001, 5000, 600)[1] == 5000
    assert mapping(table, 4001, 6000, 600)[1] == 5000
    assert mapping(table, 4001, 6000, 600, options=b"\2\0\0\0")[0] == pcp.CANNOT_PROVIDE_EXTERNAL


def test_an_end_by_pcp_is_a_success_also_of_nothing() -> None:
    table = Table()
    mapping(table, 4001, 4001, 600)
    assert mapping(table, 4001, 0, 0)[::2] == (0, 0)
    assert mapping(table, 4001, 0, 0)[::2] == (0, 0)
    assert not list(table)


@pytest.mark.parametrize(
    ("options", "protocol", "result"),
    [
        (b"\1\0\0\x10" + bytes(16), UDP, pcp.UNSUPP_OPTION),
        (b"\x81\0\0\0", UDP, pcp.SUCCESS),
        (b"\2\0\0\4\0\0\0\0", UDP, pcp.MALFORMED_OPTION),
        (b"\x81\0\0\x20", UDP, pcp.MALFORMED_OPTION),
        (b"", 33, pcp.UNSUPP_PROTOCOL),
    ],
)
def test_what_pcp_does_not_know_is_refused(options: bytes, protocol: int, result: int) -> None:
    assert mapping(Table(), 4001, 4001, 600, options=options, protocol=protocol)[0] == result


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"\1\1" + bytes(22), pcp.UNSUPP_VERSION),
        (b"\2\1" + bytes(21), pcp.MALFORMED_REQUEST),
        (b"\2\1" + bytes(1102), pcp.MALFORMED_REQUEST),
        (b"\2\1" + bytes(58), pcp.ADDRESS_MISMATCH),
        (b"\2\0" + bytes(22), pcp.ADDRESS_MISMATCH),
    ],
)
def test_a_message_of_pcp_that_is_wrong_is_told_why(data: bytes, result: int) -> None:
    answer = pcp.answer(PLAIN, Table(), data, A, NOW, EPOCH)
    assert answer
    assert (answer[0], answer[3]) == (2, result)
    assert struct.unpack_from("!I", answer, 4)[0] in (30, 1800)


def test_pcp_does_not_answer_an_answer() -> None:
    assert pcp.answer(PLAIN, Table(), b"\2\x81" + bytes(58), A, NOW, EPOCH) is None


# -- UPnP -----------------------------------------------------------------------


def words(**changes: str) -> dict[str, str]:
    return {
        "NewRemoteHost": "", "NewExternalPort": "4001", "NewProtocol": "UDP",
        "NewInternalPort": "4001", "NewInternalClient": str(A), "NewEnabled": "1",
        "NewPortMappingDescription": "", "NewLeaseDuration": "600",
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("action", "changes", "code"),
    [
        ("NoSuchAction", {}, 401),
        ("AddPortMapping", {"NewProtocol": "SCTP"}, 402),
        ("AddPortMapping", {"NewInternalPort": "x"}, 402),
        ("AddPortMapping", {"NewInternalPort": "70000"}, 402),
        ("AddPortMapping", {"NewInternalClient": "nobody"}, 402),
        ("AddPortMapping", {"NewInternalClient": str(B)}, 606),
        ("AddPortMapping", {"NewExternalPort": "0"}, 716),
        ("AddPortMapping", {"NewRemoteHost": "29.0.0.9"}, 726),
        ("DeletePortMapping", {}, 714),
        ("GetSpecificPortMappingEntry", {}, 714),
        ("GetGenericPortMappingEntry", {"NewPortMappingIndex": "0"}, 713),
    ],
)
def test_an_action_that_cannot_be_done_has_its_code(
    action: str, changes: dict[str, str], code: int
) -> None:
    with pytest.raises(igd.UpnpError) as error:
        igd.perform(PLAIN, Table(), A, NOW, action, words(**changes))
    assert error.value.code == code


def test_a_port_of_another_host_is_a_conflict_and_for_any_port_no_hindrance() -> None:
    table = Table()
    table.put(Entry(UDP, 4001, B, 4001, None))
    with pytest.raises(igd.UpnpError) as error:
        igd.perform(PLAIN, table, A, NOW, "AddPortMapping", words())
    assert error.value.code == igd.CONFLICT
    told = igd.perform(PLAIN, table, A, NOW, "AddAnyPortMapping", words())
    assert told == {"NewReservedPort": "4002"}


@pytest.mark.parametrize(("version", "left"), [(1, "0"), (2, "604800")])
def test_a_lease_of_nothing_is_static_in_version_1_and_a_week_in_version_2(
    version: int, left: str
) -> None:
    settings, table = replace(PLAIN, upnp_igd=version), Table()
    igd.perform(settings, table, A, NOW, "AddPortMapping", words(NewLeaseDuration="0"))
    told = igd.perform(settings, table, A, NOW, "GetSpecificPortMappingEntry", words())
    assert told["NewLeaseDuration"] == left


@pytest.mark.parametrize("body", [b"", b"<a", b"<a><!ENTITY", b"\xff\xfe"])
def test_a_body_that_is_no_envelope_is_no_call(body: bytes) -> None:
    assert upnp.called('POST /\r\nSOAPAction: "x#AddPortMapping"\r\n\r\n', body) is None


def test_a_search_is_answered_for_the_versions_that_are_there() -> None:
    def answers(version: int, target: str) -> int:
        search = f"M-SEARCH * HTTP/1.1\r\nST: {target}\r\n\r\n".encode()
        return len(list(upnp.found(replace(PLAIN, upnp_igd=version), 1, search)))

    device = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
    assert [answers(1, device + "1"), answers(1, device + "2")] == [1, 0]
    assert [answers(2, device + "1"), answers(2, device + "2")] == [1, 1]
    assert answers(2, "ssdp:all") == 6
    assert answers(2, "urn:other") == 0
    assert not list(upnp.found(PLAIN, 1, b"NOTIFY * HTTP/1.1\r\nST: ssdp:all\r\n\r\n"))


# -- rules ------------------------------------------------------------------------


def test_of_two_mappings_of_one_port_the_older_is_the_way_out() -> None:
    table = Table()
    table.put(Entry(TCP, 9001, A, 4001, None))
    table.put(Entry(TCP, 9002, A, 4001, None))
    rules = kernel.rules(PLAIN, table)
    assert rules.count("dnat ip to 10.0.0.2:4001") == 2
    assert "masquerade to :9001" in rules
    assert "masquerade to :9002" not in rules
    assert "masquerade" not in kernel.rules(replace(PLAIN, mapped_outward=False), table)
    assert "dnat" not in kernel.rules(replace(PLAIN, forwards=False), table)


def test_a_lease_ends_when_it_is_over_and_not_before() -> None:
    table = Table()
    table.put(Entry(UDP, 1, A, 1, 10.0))
    table.put(Entry(UDP, 2, A, 2, None))
    assert table.next_end() == 10.0
    assert not table.expire(9.9)
    assert table.expire(10.0)
    assert [entry.external_port for entry in table] == [2]
