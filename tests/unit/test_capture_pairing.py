"""Pairing across a NAT: every pair is right, and nothing is paired twice."""

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from testbed.capture.packet import ACK, SYN, Endpoint, Packet, Quoted
from testbed.capture.pairing import pair, same_payload, translations, unpaired

MS = 1_000_000
LAN = Endpoint(IPv4Address("10.0.0.2"), 5000)
NAT = Endpoint(IPv4Address("5.5.5.5"), 6000)
REMOTE = Endpoint(IPv4Address("9.9.9.9"), 7000)
OTHER = Endpoint(IPv4Address("9.9.9.8"), 7000)


def seen(where: str, time_ns: int, source: Endpoint, destination: Endpoint, **more) -> Packet:
    """``where``: "lan>" is incoming at nat-a:lan, ">wan" outgoing at nat-a:wan."""
    outgoing = where.startswith(">")
    packet = Packet(
        number=0,
        vantage=f"nat-a:{where.strip('>')}",
        time_ns=time_ns,
        outgoing=outgoing,
        ethertype=0x0800,
        protocol="udp",
        source=source,
        destination=destination,
        ttl=63 if outgoing else 64,
        ip_id=0,
        tcp_flags=0,
        tcp_seq=0,
        tcp_ack=0,
        icmp_type=None,
        icmp_code=None,
        quoted=None,
        payload=b"punch",
        original_length=0,
        frame=b"",
    )
    return replace(packet, **more)


def out(time_ns: int, remote: Endpoint = REMOTE, **more) -> Packet:
    return seen("lan>", time_ns, LAN, remote, **more)


def sent(time_ns: int, remote: Endpoint = REMOTE, **more) -> Packet:
    return seen(">wan", time_ns, NAT, remote, **more)


def test_an_outbound_packet_is_paired_with_its_translation():
    [found] = translations([out(0), sent(100)], "nat-a")
    assert (found.before.source, found.after.source) == (LAN, NAT)
    assert found.outbound
    assert found.changed
    assert not found.hairpin


def test_an_inbound_packet_is_paired_with_its_translation():
    packets = [seen("wan>", 0, REMOTE, NAT), seen(">lan", 100, REMOTE, LAN)]
    [found] = translations(packets, "nat-a")
    assert not found.outbound
    assert found.after.destination == LAN


def test_what_was_filtered_and_what_the_router_said_are_unpaired():
    filtered = seen("wan>", 0, REMOTE, NAT)
    reset = seen(">wan", 10, NAT, REMOTE, protocol="tcp", tcp_flags=4)
    assert unpaired([reset, filtered, out(20), sent(30)], "nat-a") == [filtered, reset]


def test_packets_of_another_node_do_not_count():
    elsewhere = [replace(out(0), vantage="nat-b:lan"), replace(sent(9), vantage="nat-b:wan")]
    assert pair(elsewhere, "nat-a").translations == ()
    assert pair(elsewhere, "nat-a").unpaired == ()
    assert len(translations(elsewhere, "nat-b")) == 1


def test_a_difference_that_no_nat_makes_forbids_the_pair():
    changes = ({"payload": b"other"}, {"ip_id": 4}, {"ttl": 64}, {"protocol": "tcp"})
    for change in (*changes, {"tcp_seq": 1}, {"tcp_flags": ACK}, {"time_ns": 2_000 * MS}):
        packets = [out(0), replace(sent(100), **change)]
        assert translations(packets, "nat-a") == [], change
        assert len(unpaired(packets, "nat-a")) == 2
    early = [out(100), sent(0)]
    assert translations(early, "nat-a") == []


def test_the_same_payload_to_two_destinations_is_not_mixed_up():
    packets = [out(0), out(1, OTHER), sent(100, OTHER), sent(101)]
    ends = {(t.before.destination, t.after.destination) for t in translations(packets, "nat-a")}
    assert ends == {(REMOTE, REMOTE), (OTHER, OTHER)}


def test_the_punch_that_got_through_is_told_from_the_identical_one_that_was_filtered():
    punches = [seen("wan>", at * MS, REMOTE, NAT) for at in (0, 50, 100)]
    let_in = [seen(">lan", at * MS + 20_000, REMOTE, LAN) for at in (50, 100)]
    found = pair([*punches, *let_in], "nat-a")
    assert [t.before for t in found.translations] == punches[1:]
    assert found.unpaired == (punches[0],)


def test_identical_packets_behind_a_delay_keep_their_order():
    before = [out(at * MS) for at in (0, 10, 20, 30)]
    after = [sent(at * MS) for at in (25, 35, 45, 55)]
    found = translations([*before, *after], "nat-a")
    assert [(t.before, t.after) for t in found] == list(zip(before, after, strict=True))


def test_a_loss_behind_a_delay_is_found_by_the_usual_delay():
    sure = [out(0, payload=b"once"), sent(25 * MS, payload=b"once")]
    before = [out(at * MS) for at in (10, 20, 30)]
    after = [sent(at * MS) for at in (35, 55)]  # the second one was lost
    found = pair([*sure, *before, *after], "nat-a")
    assert [t.before for t in found.translations] == [sure[0], before[0], before[2]]
    assert found.unpaired == (before[1],)


def test_a_syn_and_its_retransmission_are_two_pairs():
    syn = {"protocol": "tcp", "tcp_flags": SYN, "tcp_seq": 9, "payload": b""}
    packets = [
        out(0, **syn),
        sent(100, **syn),
        out(1000 * MS, **syn),
        sent(1000 * MS + 100, **syn),
    ]
    assert [t.after.time_ns - t.before.time_ns for t in translations(packets, "nat-a")] == [100] * 2


def test_a_hairpinned_packet_is_paired_on_the_inside():
    neighbour = Endpoint(IPv4Address("10.0.0.3"), 5001)
    packets = [seen("lan>", 0, LAN, NAT), seen(">lan", 50, NAT, neighbour)]
    [found] = translations(packets, "nat-a")
    assert found.hairpin
    assert found.after.source == NAT


def test_a_nat_that_rewrites_both_ends_is_caught_as_such():
    packets = [seen("wan>", 0, REMOTE, NAT), seen(">lan", 50, OTHER, LAN)]
    [found] = translations(packets, "nat-a")
    assert (found.before.source, found.after.source) == (REMOTE, OTHER)


def test_an_icmp_error_is_paired_though_its_quotation_is_translated():
    def error(where: str, time_ns: int, to: Endpoint) -> Packet:
        quoted = Quoted("udp", to, REMOTE, 0)
        host = Endpoint(to.address, 0)
        more = {"protocol": "icmp", "icmp_type": 3, "icmp_code": 3, "payload": str(to)[:8].encode()}
        return seen(where, time_ns, REMOTE, host, quoted=quoted, **more)

    [found] = translations([error("wan>", 0, NAT), error(">lan", 9, LAN)], "nat-a")
    assert found.after.quoted is not None
    assert found.after.quoted.source == LAN


def test_a_router_without_nat_has_pairs_that_changed_nothing():
    [found] = translations([out(0), seen(">wan", 9, LAN, REMOTE)], "nat-a")
    assert not found.changed


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.sampled_from([b"a", b"b"]),
            st.booleans(),
            st.integers(0, 5 * MS),
        ),
        max_size=30,
    )
)
def test_each_packet_is_in_one_pair_or_in_none(flights):
    packets = []
    for time_ns, payload, passes, delay in flights:
        packets.append(out(time_ns, payload=payload))
        if passes:
            packets.append(sent(time_ns + delay, payload=payload))
    found = pair(packets, "nat-a")
    used = [id(p) for t in found.translations for p in (t.before, t.after)]
    used += [id(packet) for packet in found.unpaired]
    assert sorted(used) == sorted(map(id, packets))
    for t in found.translations:
        assert t.before.time_ns <= t.after.time_ns
        assert t.before.payload == t.after.payload
    if all(passes for _, _, passes, _ in flights):
        assert found.unpaired == ()


def test_one_ciphertext_is_followed_through_the_lab():
    cipher, short = b"\x17" * 40, b"hi"
    hops = ["a:eth0", "nat-a:lan", "nat-a:wan", "b:eth0"]
    packets = [
        replace(out(at), vantage=where, payload=payload)
        for at, where in enumerate(hops)
        for payload in (cipher, short)
    ]
    [sightings] = same_payload(reversed(packets))
    assert sightings.vantages == tuple(hops)
    assert sightings.nodes == ("a", "nat-a", "b")
    assert [group.payload for group in same_payload(packets, minimum=2)] == [cipher, short]


def test_a_payload_whose_end_is_missing_proves_nothing():
    assert same_payload([out(0, payload=bytes(64), original_length=9000)]) == []
