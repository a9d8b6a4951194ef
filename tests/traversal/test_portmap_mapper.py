"""The port mapper against doubles on loopback: choice of service, life of a mapping, lies."""

# ruff: noqa: SIM117 - one context a line shows who is inside whom

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from testbed.traversal.aio.portmap import PortMapper
from testbed.traversal.events import Event, PortMapFailed, PortMapLost, PortMapped
from testbed.traversal.portmap import mapping as values
from testbed.traversal.portmap.mapping import (
    Endpoint,
    Mapping,
    NoServiceError,
    RefusedError,
    Service,
    Transport,
    Useless,
)
from testbed.traversal.portmap.options import PortMapOptions, Probe

from .portmap_doubles import GATEWAY, LOCAL, STRANGER, WAN, IgdQuirks, Quirks, datagrams, igd

UDP, TCP = Transport.UDP, Transport.TCP
QUICK = PortMapOptions(
    probe_timeout=1.0, request_timeout=1.0, close_timeout=0.5, retry=0.1, recovery=0.0,
    patience=0.05,
)  # fmt: skip
PCP, PMP, UPNP = Probe(Service.PCP), Probe(Service.NAT_PMP), Probe(Service.UPNP_V2)


def only(*probes: Probe, **others: Any) -> PortMapOptions:
    return replace(QUICK, probes=probes, **others)


@contextlib.asynccontextmanager
async def mapper(options: PortMapOptions = QUICK) -> AsyncIterator[tuple[PortMapper, list[Event]]]:
    events: list[Event] = []
    async with PortMapper(options, gateway=GATEWAY, emit=events.append) as it:
        yield it, events


async def until(fits: Callable[[], bool], what: str, timeout: float = 5.0) -> None:
    end = time.monotonic() + timeout
    while not fits():
        assert time.monotonic() < end, f"waited for {what}"
        await asyncio.sleep(0.005)


def count(events: list[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("probe", [PCP, PMP])
def test_a_datagram_service_maps_and_is_asked_to_forget(probe: Probe, transport: Transport) -> None:
    async def run() -> None:
        async with datagrams(Quirks(), Quirks()) as double:
            async with mapper(only(probe)) as (it, events):
                made = await it.map(transport, 4001, lifetime=600)
                assert made == Mapping(
                    transport, Endpoint(LOCAL, 4001), Endpoint(WAN, 4001), 600, probe.service,
                    GATEWAY,
                )  # fmt: skip
                assert made.useless is None
                assert it.mappings == (made,)
                assert double.table.mappings == {(transport.number, 4001): (4001, 600)}
                assert [type(event) for event in events] == [PortMapped]
            assert double.table.mappings == {}

    asyncio.run(run())


@pytest.mark.parametrize("version", [1, 2])
def test_upnp_maps_and_is_asked_to_forget(version: int) -> None:
    async def run() -> None:
        async with igd(IgdQuirks(version)) as double:
            async with mapper(only(UPNP)) as (it, _):
                made = await it.map(TCP, 4001, lifetime=600)
                assert made.external == Endpoint(WAN, 4001)
                assert made.service == f"upnp-v{version}"
                assert double.entries == {("TCP", 4001): (str(LOCAL), 4001, 600)}
                first = "AddPortMapping" if version == 1 else "AddAnyPortMapping"
                assert double.calls[0] == first
            assert double.entries == {}

    asyncio.run(run())


def test_pcp_is_preferred_where_all_answer() -> None:
    async def run() -> None:
        async with datagrams(Quirks(), Quirks()), igd(IgdQuirks()) as upnp, mapper() as (it, _):
            assert (await it.map(UDP, 4001)).service is Service.PCP
            assert upnp.calls == []

    asyncio.run(run())


def test_a_server_of_nat_pmp_alone_is_fallen_back_to_at_once() -> None:
    async def run() -> None:
        start = time.monotonic()
        async with datagrams(None, Quirks()), mapper() as (it, _):
            assert (await it.map(UDP, 4001)).service is Service.NAT_PMP
            assert time.monotonic() - start < 0.5

    asyncio.run(run())


def test_a_server_of_pcp_alone_is_recognised_by_nat_pmp() -> None:
    async def run() -> None:
        async with datagrams(Quirks(), None), mapper(only(PMP)) as (it, _):
            with pytest.raises(values.UnsupportedVersionError):
                await it.map(UDP, 4001)

    asyncio.run(run())


def test_upnp_is_reached_within_its_head_start_where_the_others_are_silent() -> None:
    async def run() -> None:
        probes = (PCP, PMP, Probe(Service.UPNP_V2, 0.1))
        silent = Quirks(silent=True)
        start = time.monotonic()
        async with datagrams(silent, silent), igd(IgdQuirks()), mapper(only(*probes)) as (it, _):
            assert (await it.map(UDP, 4001)).service is Service.UPNP_V1
            assert 0.1 <= time.monotonic() - start < 0.8

    asyncio.run(run())


def test_a_slower_but_better_service_is_waited_for_with_patience() -> None:
    async def run() -> None:
        options = replace(QUICK, patience=0.5)
        async with datagrams(Quirks(delay=0.1), Quirks()), mapper(options) as (it, _):
            assert (await it.map(UDP, 4001)).service is Service.PCP

    asyncio.run(run())


def test_what_one_service_refuses_the_next_may_grant() -> None:
    async def run() -> None:
        async with datagrams(Quirks(result=2), Quirks(result=4)), igd(IgdQuirks()):
            async with mapper() as (it, events):
                assert (await it.map(UDP, 4001)).service is Service.UPNP_V1
                assert [e.service for e in events if isinstance(e, PortMapFailed)] == [
                    Service.PCP, Service.NAT_PMP,
                ]  # fmt: skip

    asyncio.run(run())


def test_an_address_mismatch_is_not_papered_over_by_another_service() -> None:
    async def run() -> None:
        async with datagrams(Quirks(result=12), Quirks()), mapper() as (it, _):
            with pytest.raises(values.AddressMismatchError):
                await it.map(UDP, 4001)

    asyncio.run(run())


def test_no_service_at_all_is_an_error_within_the_deadline() -> None:
    async def run() -> None:
        async with mapper() as (it, events):
            start = time.monotonic()
            with pytest.raises(NoServiceError, match="unreachable"):
                await it.map(UDP, 4001)
            assert time.monotonic() - start < 1.8
            assert [type(e) for e in events] == [PortMapFailed]

    asyncio.run(run())


def test_a_gateway_without_an_address_says_so() -> None:
    async def run() -> None:
        async with datagrams(None, Quirks(address_result=3)), mapper(only(PCP, PMP)) as (it, _):
            with pytest.raises(values.NetworkFailureError):
                await it.map(UDP, 4001)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "why"),
    [("10.0.0.5", Useless.PRIVATE), ("100.64.3.2", Useless.SHARED), ("0.0.0.0", Useless.UNKNOWN)],
)
@pytest.mark.parametrize("probe", [PCP, PMP, UPNP])
def test_a_mapping_on_an_address_off_the_internet_is_useless(
    probe: Probe, address: str, why: Useless
) -> None:
    async def run() -> None:
        quirks, external = Quirks(external=IPv4Address(address)), address
        if address == "0.0.0.0":
            external = ""
        async with datagrams(quirks, quirks), igd(IgdQuirks(external=external)):
            async with mapper(only(probe)) as (it, events):
                made = await it.map(UDP, 4001)
                assert made.useless is why
                assert events[-1].to_dict()["mapping"]["useless"] == str(why)

    asyncio.run(run())


@pytest.mark.parametrize("probe", [PCP, PMP])
def test_another_port_than_asked_is_taken_and_kept(probe: Probe) -> None:
    async def run() -> None:
        quirks = Quirks(shift=7)
        async with datagrams(quirks, quirks) as double:
            async with mapper(only(probe)) as (it, events):
                assert (await it.map(UDP, 4001, lifetime=1)).external.port == 4008
                quirks.shift = 0
                await until(lambda: count(events, PortMapped) == 2, "a renewal")
                assert double.table.mappings == {(17, 4001): (4008, 1)}
            assert double.table.mappings == {}

    asyncio.run(run())


@pytest.mark.parametrize(("version", "port"), [(1, None), (2, 4002)])
def test_a_taken_port_leads_to_another(version: int, port: int | None) -> None:
    async def run() -> None:
        async with igd(IgdQuirks(version, taken=frozenset({4001}))) as double:
            async with mapper(only(UPNP)) as (it, _):
                made = await it.map(UDP, 4001)
                assert made.external.port == (port or made.external.port) != 4001
                assert [key[1] for key in double.entries] == [made.external.port]

    asyncio.run(run())


def test_permanent_leases_are_taken_where_there_are_no_others_and_removed() -> None:
    async def run() -> None:
        async with igd(IgdQuirks(permanent_only=True)) as double:
            async with mapper(only(UPNP)) as (it, _):
                made = await it.map(UDP, 4001)
                assert made.lifetime is None
                assert double.entries == {("UDP", 4001): (str(LOCAL), 4001, 0)}
            assert double.entries == {}

    asyncio.run(run())


@pytest.mark.parametrize("probe", [PCP, PMP, UPNP])
def test_a_mapping_is_renewed_at_half_its_life(probe: Probe) -> None:
    async def run() -> None:
        async with datagrams(Quirks(), Quirks()), igd(IgdQuirks()):
            async with mapper(only(probe)) as (it, events):
                await it.map(UDP, 4001, lifetime=1)
                start = time.monotonic()
                await until(lambda: count(events, PortMapped) == 3, "two renewals")
                assert 0.9 < time.monotonic() - start < 1.6
                assert all(e.renewed for e in events[1:] if isinstance(e, PortMapped))
                assert count(events, PortMapLost) == 0

    asyncio.run(run())


def test_a_gateway_that_goes_silent_loses_the_mapping_when_it_ends_and_gives_it_anew() -> None:
    async def run() -> None:
        quirks = Quirks()
        async with datagrams(quirks, quirks) as double:
            async with mapper(only(PMP, request_timeout=0.2, probe_timeout=0.2)) as (it, events):
                await it.map(UDP, 4001, lifetime=1)
                start, quirks.silent = time.monotonic(), True
                await until(lambda: count(events, PortMapLost) == 1, "the loss")
                assert time.monotonic() - start > 0.9
                assert it.mappings == ()
                quirks.silent = False
                await until(lambda: len(it.mappings) == 1, "a new one")
                assert double.table.mappings

    asyncio.run(run())


@pytest.mark.parametrize("probe", [PCP, PMP])
def test_an_epoch_that_went_back_leads_to_a_new_mapping(probe: Probe) -> None:
    async def run() -> None:
        quirks = Quirks(born=time.monotonic() - 1000)
        async with datagrams(quirks, quirks) as double, mapper(only(probe)) as (it, events):
            await it.map(UDP, 4001)
            await it.map(TCP, 4002)
            double.table.mappings.clear()
            quirks.born = time.monotonic()
            announcement = (
                b"\x02\x80" + bytes(22) if probe is PCP else b"\0\x80" + bytes(6) + WAN.packed
            )
            double.announce(announcement, STRANGER)
            double.announce(b"garbage")
            await asyncio.sleep(0.05)
            assert double.table.mappings == {}  # the negative control: strangers are not believed
            double.announce(announcement)
            await until(lambda: len(double.table.mappings) == 2, "new mappings")
            await until(lambda: count(events, PortMapped) == 4, "both to be told")
            assert count(events, PortMapLost) == 2

    asyncio.run(run())


def test_a_new_boot_id_of_upnp_leads_to_a_new_mapping() -> None:
    async def run() -> None:
        async with igd(IgdQuirks()) as double, mapper(only(UPNP)) as (it, _):
            await it.map(UDP, 4001)
            double.entries.clear()
            double.notify(boot_id=1)
            double.notify(boot_id=2, source=STRANGER)
            await asyncio.sleep(0.05)
            assert double.entries == {}
            double.notify(boot_id=2)
            await until(lambda: bool(double.entries), "a new mapping")

    asyncio.run(run())


def test_a_new_external_address_is_told_at_the_renewal() -> None:
    async def run() -> None:
        quirks = Quirks()
        async with datagrams(quirks, quirks), mapper(only(PCP)) as (it, events):
            await it.map(UDP, 4001, lifetime=1)
            quirks.external = IPv4Address("73.0.0.2")
            await until(lambda: count(events, PortMapped) == 2, "a renewal")
            [mapping] = it.mappings
            assert mapping.external.address == quirks.external
            assert not events[-1].to_dict()["renewed"]

    asyncio.run(run())


def test_unmap_ends_one_mapping_alone() -> None:
    async def run() -> None:
        async with datagrams(Quirks(), Quirks()) as double, mapper() as (it, _):
            await it.map(UDP, 4001)
            await it.map(UDP, 4002)
            await it.unmap(UDP, 4001)
            await it.unmap(UDP, 9)
            assert [m.internal.port for m in it.mappings] == [4002]
            assert double.table.mappings.keys() == {(17, 4002)}

    asyncio.run(run())


def test_a_cancelled_request_leaves_nothing_on_the_gateway() -> None:
    async def run() -> None:
        quirks = Quirks()
        async with datagrams(quirks, quirks) as double:
            async with mapper(only(PCP)) as (it, _):
                await it.map(UDP, 4001)
                quirks.delay = 0.3
                task = asyncio.create_task(it.map(UDP, 4002))
                await until(lambda: (17, 4002) in double.table.mappings, "the request")
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert double.table.mappings == {}

    asyncio.run(run())


UPNP_CODES: list[tuple[int, type[RefusedError]]] = [
    (401, values.UnsupportedRequestError),
    (402, values.MalformedRequestError),
    (501, values.ActionFailedError),
    (600, values.MalformedRequestError),
    (601, values.MalformedRequestError),
    (602, values.UnsupportedRequestError),
    (603, values.NoResourcesError),
    (605, values.MalformedRequestError),
    (606, values.NotAuthorizedError),
    (713, values.NoSuchMappingError),
    (714, values.NoSuchMappingError),
    (715, values.WildcardError),
    (716, values.WildcardError),
    (718, values.ConflictError),
    (724, values.SamePortError),
    (725, values.PermanentOnlyError),
    (726, values.WildcardError),
    (727, values.WildcardError),
    (728, values.NoResourcesError),
    (729, values.ConflictError),
    (730, values.NoSuchMappingError),
    (732, values.WildcardError),
    (733, values.MalformedRequestError),
    (899, RefusedError),
]


@pytest.mark.parametrize(("code", "error"), UPNP_CODES)
@pytest.mark.parametrize("version", [1, 2])
def test_each_upnp_code_has_its_error(code: int, error: type[RefusedError], version: int) -> None:
    async def run() -> None:
        errors = {"AddPortMapping": code, "AddAnyPortMapping": code}
        async with igd(IgdQuirks(version, errors=errors)), mapper(only(UPNP)) as (it, _):
            with pytest.raises(RefusedError) as caught:
                await it.map(UDP, 4001)
            assert type(caught.value) is error
            assert it.mappings == ()

    asyncio.run(run())


PCP_CODES = {
    1: values.UnsupportedVersionError, 2: values.NotAuthorizedError,
    3: values.MalformedRequestError, 4: values.UnsupportedRequestError,
    5: values.UnsupportedRequestError, 6: values.MalformedRequestError,
    7: values.NetworkFailureError, 8: values.NoResourcesError,
    9: values.UnsupportedRequestError, 10: values.QuotaError, 11: values.ConflictError,
    12: values.AddressMismatchError, 13: values.TooManyPeersError,
}  # fmt: skip
PMP_CODES = {
    1: values.UnsupportedVersionError, 2: values.NotAuthorizedError,
    3: values.NetworkFailureError, 4: values.NoResourcesError, 5: values.UnsupportedRequestError,
}  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "code", "error"),
    [(PCP, *pair) for pair in PCP_CODES.items()] + [(PMP, *pair) for pair in PMP_CODES.items()],
)
def test_each_code_of_a_datagram_service_reaches_the_caller_as_its_error(
    probe: Probe, code: int, error: type[RefusedError]
) -> None:
    async def run() -> None:
        quirks = Quirks(result=code)
        async with datagrams(quirks, quirks), mapper(only(probe)) as (it, _):
            with pytest.raises(RefusedError) as caught:
                await it.map(UDP, 4001)
            assert type(caught.value) is error

    asyncio.run(run())
