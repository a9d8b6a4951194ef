"""What a gateway does with the ports that it grants, held to RFC 6886, RFC 6887 and UPnP IGD.

Each experiment has fresh ports and gives back what it was granted.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from testbed.certify.measured import Finding, MeasuredPortMapping, unseen
from testbed.certify.prober.bench import LAN, ROUTER, SERVER, STRANGER, Bench
from testbed.certify.prober.gateways import ANOTHER, NONCE, PREFER_FAILURE, Datagrams, Soap
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.statement import Statement
from testbed.model.statement import gateways as it
from testbed.model.statement.probing import Besides, Circumstance, Several

_LEASE = 600  # seconds, within any limits
_WEEK, _GRACE = 604800, 10  # seconds
_EPOCH = 1.5  # seconds in which a clock of seconds must have moved
_ABSENT = 714  # UPnP: no such entry
_UNKNOWN = "0.0.0.0"
UDP = Protocol.UDP

Mapper = Callable[[Protocol, int, int, int], int | None]


class Offer(FrozenValue):
    """What answers on the LAN: names as of `PortMapping.services`."""

    bench: Bench
    names: tuple[str, ...]
    datagrams: Datagrams
    soap: Soap | None

    def mappers(self) -> Iterator[tuple[str, Mapper]]:
        """A way to map by each service: the granted port, None without; 0 seconds end it."""
        if "nat-pmp" in self.names:
            yield "nat-pmp", self._by_pmp
        if "pcp" in self.names:
            yield "pcp", self._by_pcp
        if self.soap:
            yield "upnp-igd", self._by_upnp

    def _by_pmp(self, protocol: Protocol, inside: int, outside: int, seconds: int) -> int | None:
        answer = self.datagrams.pmp(protocol, inside, outside, seconds)
        return answer.port if answer.result == 0 else None

    def _by_pcp(self, protocol: Protocol, inside: int, outside: int, seconds: int) -> int | None:
        answer = self.datagrams.pcp(protocol, inside, outside, seconds)
        return answer.port if answer.result == 0 else None

    def _by_upnp(self, protocol: Protocol, inside: int, outside: int, seconds: int) -> int | None:
        assert self.soap
        if not seconds:
            return outside if self.soap.delete(protocol, outside) == 0 else None
        done = self.soap.add(protocol, inside, outside, seconds)
        if done == 725:  # it grants those without an end alone
            done = self.soap.add(protocol, inside, outside, 0)
        return outside if done == 0 else None


def granted(offer: Offer) -> MeasuredPortMapping:
    """Every axis, as far as a service has it."""
    pmp, pcp = "nat-pmp" in offer.names, "pcp" in offer.names
    forwards, outward = _both_ways(offer)
    without = unseen(Circumstance.SERVICE_LACKS_IT)
    upnp = "upnp-igd-1" in offer.names
    return MeasuredPortMapping(
        forwards=forwards,
        mapped_outward=outward,
        first_mapping_kept=_second(offer) if pmp else without,
        prefer_failure=_prefer_failure(offer) if pcp else without,
        nonce=_nonce(offer) if pcp else without,
        any_port=_any_port(offer, offer.soap) if upnp and offer.soap else without,
        permanent_only=_permanent(offer, offer.soap) if offer.soap else without,
        static_lease=_static(offer, offer.soap) if offer.soap else without,
        absent_refused=_absent(offer, offer.soap) if offer.soap else without,
        version_errors=_other_version(offer, pcp=pcp) if pmp != pcp else without,
        address_known=_address(offer, pmp=pmp, pcp=pcp) if offer.names else without,
        epoch_counts=_epoch(offer, pmp=pmp) if pmp or pcp else without,
    )


def _both_ways(offer: Offer) -> tuple[Finding, Finding]:
    """Is a stranger let in, and does the host leave by the mapped port, whoever it calls?"""
    inwards, outwards = list[bool](), list[bool]()
    shown, seen = list[Statement](), list[Statement]()
    for name, mapper in offer.mappers():
        for protocol in Protocol:
            inside, outside = offer.bench.port(), offer.bench.port()
            external = mapper(protocol, inside, outside, _LEASE)
            if external is None:
                shown.append(it.GrantRefused(name, protocol))
                inwards.append(False)
                continue
            came, ports = _tried(offer.bench, protocol, inside, external)
            mapper(protocol, inside, external, 0)
            inwards.append(came)
            shown.append(it.GrantCalled(name, protocol, external, came))
            outwards += [port == external for port in ports]
            seen.append(it.GrantLeft(name, protocol, inside, external, tuple(ports)))
    return _all(inwards, shown), _all(outwards, seen)


def _tried(bench: Bench, protocol: Protocol, inside: int, external: int) -> tuple[bool, list[int]]:
    """Does a stranger's call come in, and by which ports does the host call two others?"""
    host = bench.end(protocol, LAN[0], inside)
    caller = bench.end(protocol, STRANGER)
    target = (bench.address(ROUTER), external)
    came = bench.contact(caller, host, target) is not None
    called = (bench.end(protocol, SERVER, index=i) for i in (0, 1))
    contacts = [bench.contact(host, end) for end in called]
    return came, [contact.source[1] for contact in contacts if contact]


def _all(answers: list[bool], shown: Sequence[Statement]) -> Finding:
    evidence = Several(tuple(shown))
    if not answers:
        return unseen(evidence if shown else Circumstance.NO_SERVICE)
    same = len(set(answers)) == 1
    return Finding(answers[0] if same else "inconsistent", evidence)


def _second(offer: Offer) -> Finding:
    """Another external port for an internal port that has one."""
    inside, first, second = (offer.bench.port() for _ in range(3))
    had = offer.datagrams.pmp(UDP, inside, first, _LEASE)
    again = offer.datagrams.pmp(UDP, inside, second, _LEASE)
    for outside in (first, second):
        offer.datagrams.pmp(UDP, inside, outside, 0)
    shown = it.AskedTwice(first, had.port, second, again.port)
    if had.result or again.result or not had.port:
        return Finding("refused", Besides(shown, it.Results(had.result, again.result)))
    return Finding(again.port == had.port, shown)


def _prefer_failure(offer: Offer) -> Finding:
    """A port that another internal port has, with the option and without another way."""
    first, second, outside = (offer.bench.port() for _ in range(3))
    ask = offer.datagrams.pcp
    ask(UDP, first, outside, _LEASE)
    answer = ask(UDP, second, outside, _LEASE, options=PREFER_FAILURE)
    for inside in (first, second):
        ask(UDP, inside, outside, 0)
    shown = it.PortTaken(outside, answer.result, answer.port)
    return Finding(answer.result == 11 if answer.result in (0, 11) else "refused", shown)


def _nonce(offer: Offer) -> Finding:
    """A renewal and an end by somebody who does not know the nonce."""
    inside, outside = offer.bench.port(), offer.bench.port()
    ask = offer.datagrams.pcp
    ask(UDP, inside, outside, _LEASE)
    found = [ask(UDP, inside, outside, s, nonce=ANOTHER).result for s in (_LEASE, 0)]
    for nonce in (ANOTHER, NONCE):
        ask(UDP, inside, outside, 0, nonce=nonce)
    return _all([result == 2 for result in found], [it.StrangeNonce(*found)])


def _any_port(offer: Offer, soap: Soap) -> Finding:
    """Version 1 has no such action."""
    inside, outside = offer.bench.port(), offer.bench.port()
    code = soap.add(UDP, inside, outside, _LEASE, action="AddAnyPortMapping")
    soap.delete(UDP, outside)
    shown = it.Code(it.Asked.ANY_PORT, code)
    return Finding(code == 0 if code in (0, 401) else "refused", shown)


def _permanent(offer: Offer, soap: Soap) -> Finding:
    inside, outside = offer.bench.port(), offer.bench.port()
    code = soap.add(UDP, inside, outside, _LEASE)
    soap.delete(UDP, outside)
    shown = it.Code(it.Asked.LEASE, code)
    return Finding(code == 725 if code in (0, 725) else "refused", shown)


def _static(offer: Offer, soap: Soap) -> Finding:
    """Has a lease of 0 no end in version 1, and a week in version 2 (RFC 6970 section 4.1)?"""
    inside, outside = offer.bench.port(), offer.bench.port()
    code = soap.add(UDP, inside, outside, 0)
    left = soap.lease(UDP, outside)
    soap.delete(UDP, outside)
    shown = it.EndlessLease(code, left)
    if code != 0 or left is None or not left.isdigit():
        return Finding("refused", shown)
    if "upnp-igd-1" in offer.names:
        return Finding(left == "0", shown)
    return Finding(_WEEK - _GRACE <= int(left) <= _WEEK, shown)


def _absent(offer: Offer, soap: Soap) -> Finding:
    code = soap.delete(UDP, offer.bench.port())
    return Finding(code == _ABSENT, it.Code(it.Asked.ABSENT, code))


def _other_version(offer: Offer, *, pcp: bool) -> Finding:
    """NAT-PMP's version to a gateway of PCP alone, and the other way round."""
    request = bytes(2) if pcp else bytes((2, 0)) + bytes(22)
    answer = offer.datagrams.ask(request, 0.3)
    shown = it.VersionAnswered(request[0], answer[:4].hex())
    if not answer:
        return Finding(False, shown)
    right = answer[1:2] == b"\x80" and answer[3:4] == b"\1"
    return Finding(True if right and answer[0] == (2 if pcp else 0) else "wrong", shown)


def _address(offer: Offer, *, pmp: bool, pcp: bool) -> Finding:
    """What each service tells of the external address."""
    told: dict[str, str | None] = {}
    if pmp:
        told["nat-pmp"] = offer.datagrams.pmp_address().address
    if pcp:
        inside = offer.bench.port()
        told["pcp"] = offer.datagrams.pcp(UDP, inside, inside, _LEASE).address
        offer.datagrams.pcp(UDP, inside, inside, 0)
    if offer.soap:
        action = "GetExternalIPAddress"
        told["upnp-igd"] = offer.soap.value("NewExternalIPAddress", action, {})
    external = offer.bench.address(ROUTER)
    shown = [it.AddressTold(name, address) for name, address in told.items()]
    if any(address not in (external, _UNKNOWN) for address in told.values()):
        return Finding("wrong", Several(tuple(shown)))
    return _all([address == external for address in told.values()], shown)


def _epoch(offer: Offer, *, pmp: bool) -> Finding:
    """Does it grow?"""

    def epoch() -> int:
        if pmp:
            return offer.datagrams.pmp_address().epoch
        return offer.datagrams.pcp(UDP, port, port, 0).epoch

    port = offer.bench.port()
    first = last = epoch()
    end = time.monotonic() + _EPOCH
    while last == first and time.monotonic() < end:
        time.sleep(0.05)
        last = epoch()
    return Finding(last > first, it.Clock(first, last))
