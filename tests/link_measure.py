"""What a link really does to datagrams, measured from its ends, and held to its claim.

It knows nothing of how links are impaired: any implementation is certified by it.
"""

import math
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles

from testbed.errors import ProbeError
from testbed.model.topology import Impairment

_SO_TIMESTAMPNS = 35
_HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP: rates count frames
_PROBE = struct.Struct("!4sIQ")  # run, number, sent at (ns)
_PROBE_LENGTH = 64
_TRAIN_LENGTH = 1400
_NS = 1_000_000_000

# Tolerances of `disagreements`; those in ms are for a machine that has other work too.
EARLY_MS = 0.1  # no datagram may be faster than the delay by more
LATE_MS = 1.0  # the median may be later by this
JITTER_SHARE = 0.35  # of the claimed jitter, plus:
JITTER_MS = 1.0  # hence smaller jitter is not told from none
RATE_SHARE = 0.10
LOSS_SIGMAS = 4.0


@dataclass(frozen=True)
class LinkMeasurement:
    """One direction.  Delays are one way; both ends read the same clock."""

    sent: int
    received: int
    reordered: int  # came after a later one
    earliest_ms: float
    median_ms: float
    latest_ms: float
    jitter_ms: float  # half the width of a uniform delay with the quartiles found
    rate_mbit: float | None  # how fast frames came out, sent back to back; None: not measured
    rate_over_ms: float = 0.0  # the time that was measured over

    @property
    def loss(self) -> float:
        return 1 - self.received / self.sent


def measure(
    sender: socket.socket,
    receiver: socket.socket,
    *,
    probes: int = 200,
    interval_ms: float = 1.0,
    train: int = 64,
    patience_ms: float = 500.0,
) -> LinkMeasurement:
    """Send from one bound UDP socket to the other and time what arrives.

    First ``probes`` small datagrams ``interval_ms`` apart, which should exceed twice
    the jitter (frames keep their order, so that closer ones push each other back);
    then ``train`` large ones back to back, for the rate (0: none).  Waits
    ``patience_ms``, which should exceed the delay, for the last to come.  ProbeError if
    none came; OSError if the sender has no way to the receiver.
    """
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    target = receiver.getsockname()
    patience = patience_ms / 1000
    arrivals = _exchange(sender, receiver, target, b"prob", probes, interval_ms / 1000, patience)
    if len(arrivals) < 2:
        raise ProbeError(f"{len(arrivals)} of {probes} datagrams came over the link")
    delays = [(at - sent) / 1e6 for _, sent, at in arrivals]
    quarter, _, three_quarters = quantiles(delays, n=4)
    numbers = [number for number, _, _ in arrivals]
    rate, over = None, 0.0
    if train:
        cars = _exchange(sender, receiver, target, b"rate", train, 0.0, patience)
        rate, over = _rate([at for _, _, at in cars])
    return LinkMeasurement(
        sent=probes,
        received=len(arrivals),
        reordered=sum(later < number for number, later in pairwise(numbers)),
        earliest_ms=min(delays),
        median_ms=median(delays),
        latest_ms=max(delays),
        jitter_ms=three_quarters - quarter,
        rate_mbit=rate,
        rate_over_ms=over,
    )


def _exchange(
    sender: socket.socket,
    receiver: socket.socket,
    target: tuple[str, int],
    run: bytes,
    count: int,
    interval: float,
    patience: float,
) -> list[tuple[int, int, int]]:
    """Number, sent at, came at (ns, CLOCK_REALTIME as the kernel's stamps) of what came."""
    arrivals: list[tuple[int, int, int]] = []
    padding = bytes((_TRAIN_LENGTH if run == b"rate" else _PROBE_LENGTH) - _PROBE.size)
    start = time.monotonic()
    for number in range(count):
        until = start + number * interval
        _collect(receiver, run, arrivals, until, lambda: False)
        sender.sendto(_PROBE.pack(run, number, time.time_ns()) + padding, target)
    until = time.monotonic() + patience
    _collect(receiver, run, arrivals, until, lambda: len(arrivals) >= count)
    return arrivals


def _collect(
    receiver: socket.socket,
    run: bytes,
    arrivals: list[tuple[int, int, int]],
    until: float,
    done: Callable[[], bool],
) -> None:
    """Take datagrams of ``run`` until the moment ``until`` or until ``done()``."""
    while not done():
        left = until - time.monotonic()
        if left <= 0 or not select.select([receiver], [], [], left)[0]:
            return
        data, ancillary, _, _ = receiver.recvmsg(2048, 64)
        if len(data) < _PROBE.size or not ancillary:
            continue
        whose, number, sent = _PROBE.unpack_from(data)
        seconds, nanoseconds = struct.unpack("@ll", ancillary[0][2])
        if whose == run:
            arrivals.append((number, sent, seconds * _NS + nanoseconds))


def _rate(times: list[int]) -> tuple[float | None, float]:
    """Mbit/s at which a train came out, and over how many ms; None for fewer than two."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None, 0.0
    bits = (len(times) - 1) * (_TRAIN_LENGTH + _HEADERS) * 8
    return bits * 1000 / (times[-1] - times[0]), (times[-1] - times[0]) / 1e6


def disagreements(impairment: Impairment, found: LinkMeasurement) -> list[str]:
    """How the measurement contradicts the claim, in sentences; empty if it does not.

    Also one when the measurement is too small to decide.  Tolerances: the earliest
    datagram EARLY_MS, the median LATE_MS and its share of jitter, jitter JITTER_SHARE
    and JITTER_MS, rate RATE_SHARE and its share of jitter, loss LOSS_SIGMAS standard
    deviations of a binomial (none at all where none is claimed), order exact.
    """
    said = [*_loss_disagreements(impairment.loss, found), *_delay_disagreements(impairment, found)]
    if found.reordered:
        said.append(f"{found.reordered} datagrams were overtaken")
    if impairment.rate_mbit is not None:
        if found.rate_mbit is None:
            said.append("too few datagrams came to measure a rate")
        else:
            wave = 2 * impairment.jitter_ms / max(found.rate_over_ms, 1e-3)
            if abs(found.rate_mbit / impairment.rate_mbit - 1) > RATE_SHARE + wave:
                said.append(f"rate {found.rate_mbit:.2f}, claimed {impairment.rate_mbit:g} Mbit/s")
    return said


def _loss_disagreements(claimed: float, found: LinkMeasurement) -> list[str]:
    tolerated = LOSS_SIGMAS * math.sqrt(claimed * (1 - claimed) / found.sent)
    if abs(found.loss - claimed) > tolerated + 1e-9:
        return [f"loss {found.loss:.4f} of {found.sent} datagrams, claimed {claimed:g}"]
    if claimed and tolerated >= claimed:
        return [f"{found.sent} datagrams are too few to tell loss {claimed:g} from none"]
    return []


def _delay_disagreements(impairment: Impairment, found: LinkMeasurement) -> list[str]:
    delay, jitter = impairment.delay_ms, impairment.jitter_ms
    if impairment.rate_mbit is not None:
        delay += (_PROBE_LENGTH + _HEADERS) * 8 / impairment.rate_mbit / 1000
    said = []
    if found.earliest_ms < delay - jitter - EARLY_MS:
        said.append(f"a datagram came after {found.earliest_ms:.2f} ms, claimed {delay:.2f} ms")
    # The median of n uniform draws strays by jitter / sqrt(n): four times that.
    stray = 4 * jitter / math.sqrt(found.received)
    if not -stray - EARLY_MS <= found.median_ms - delay <= stray + LATE_MS:
        said.append(f"median delay {found.median_ms:.2f} ms, claimed {delay:.2f} ms")
    if abs(found.jitter_ms - jitter) > JITTER_SHARE * jitter + JITTER_MS:
        said.append(f"jitter {found.jitter_ms:.2f} ms, claimed {jitter:g} ms")
    return said
