"""The strategies against hard NATs, run many times, each case in a lab of its own.

The hard side is a host behind ``nat-a``, the easy one ``b`` behind ``nat-b``, and the
channel between them is this process.  Every run has fresh sockets.  Mappings of earlier
runs leave the odds alone, since no two have one port and the probes are random; but they
hold ports, and count for a quota.  So a run waits until enough of them have expired.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import cycle
from socket import AF_INET, SOCK_DGRAM, socket

from testbed.capture.reader import read
from testbed.errors import LossError, PeerError
from testbed.lab.services.watch import Beginning, watched
from testbed.model.breach import Breach, LimitPassed
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.presets import two_homes
from testbed.model.topology import Host, Link, Topology
from testbed.studies.autonat.nodes import Remote
from testbed.studies.base import Site
from testbed.studies.kept import CAPTURE
from testbed.studies.odds.cases import MAPPING_SECONDS, Case
from testbed.studies.odds.wire import EASY, Told, disagreements
from testbed.traversal.aio.hard_punch import drive, mapped, sound
from testbed.traversal.aio.stun import StunServer
from testbed.traversal.errors import DeadlineError
from testbed.traversal.hard_nat import Birthday, Opener, Prober
from testbed.traversal.hard_nat_odds import granted
from testbed.traversal.stun import Address
from testbed.traversal.stun_server import Addresses

SERVER, NEIGHBOUR = "server", "neighbour"
# Hosts that take turns where each has a quota.  An ordinary user's nft cannot send the
# kernel the rules of many more in one message.
SUBSCRIBERS = 18
WITNESSED = 8  # runs of a case whose packets are recorded and held against the sides' words
_FORGOTTEN = MAPPING_SECONDS + 2.0  # seconds; the kernel collects what has expired once a second
_TABLE = 16384  # mappings in a NAT's tables
_AT_ONCE = 16  # runs side by side
_DESCRIPTORS = 512  # and no more sockets than these at a time
_RUN_DEADLINE = 30.0  # seconds
_BEAT = 0.05
_NAME = "the STUN server"
_PORTS = (3478, 3479)


class Measured(FrozenValue):
    """``late``: by how many seconds this process was late at worst.

    ``wrong`` is what must not be, by the packets or by the limits.
    """

    runs: int
    hits: int
    late: float
    most_packets: int  # that one side has sent in one run
    wrong: tuple[Breach, ...] = ()
    recorded: int = 0  # packets of the witnessed runs


def bench(subscribers: int) -> Topology:
    """Two homes without delay, several hosts in the hard one, and a neighbour of theirs."""
    homes = two_homes("hard", "easy", link=Link())
    hosts = (*(Host(_host(n), "lan-a") for n in range(subscribers)), Host(NEIGHBOUR, "lan-a"))
    return replace(homes, name="odds", hosts=(*hosts, *homes.hosts[1:]))


def _host(number: int) -> str:
    return f"a-{number}"


def _subscribers(case: Case) -> int:
    return 1 if case.quota is None else SUBSCRIBERS


def measure(case: Case, site: Site) -> Measured:
    """Run ``case`` in a lab of its own.

    PeerError when a run does not come to an end, ServiceError when STUN does not answer; LossError
    when the witnessed runs could not be recorded whole.
    """
    with site.lab(bench(_subscribers(case)), case.made_profiles(), case.seed) as lab:
        return measure_in(lab, case, site)


def measure_in(lab: Lab, case: Case, site: Site) -> Measured:
    """The same in a lab of `bench` that is up already; its NATs may be others."""
    with _stun(lab) as servers:
        experiment = _Experiment(lab, case, servers)
        witnessed = range(min(WITNESSED, case.runs))
        hosts = {*(_host(n % _subscribers(case)) for n in witnessed), EASY}
        nodes = {*hosts, *(router.name for router in lab.plan.topology.routers)}
        vantages = [vantage for vantage in lab.plan.vantages if vantage.node in nodes]
        with site.recorded(lab, vantages) as recorder:
            told = asyncio.run(experiment.runs(witnessed))
        if lost := recorder.recording.dropped:
            raise LossError(f"{lost} packets of the witnessed runs were not recorded")
        packets = [one for one in read(site.folder / CAPTURE) if one.node in hosts]
        wrong: list[Breach] = list(disagreements(told, packets))
        told += asyncio.run(experiment.runs(range(len(told), case.runs)))
    most = max(max(run.hard_sent, run.easy_sent) for run in told)
    if most > case.strategy.limits.packets:
        wrong.append(LimitPassed(most, case.strategy.limits.packets))
    hits = sum(run.hit for run in told)
    seen = recorder.recording.packets
    return Measured(len(told), hits, experiment.late, most, tuple(wrong), seen)


@contextmanager
def _stun(lab: Lab) -> Iterator[tuple[Address, Address]]:
    """Two STUN servers, as long as the context lasts."""
    first, second = (str(address) for address in lab.plan.addresses[SERVER])
    addresses = Addresses((first, _PORTS[0]), (second, _PORTS[1]))

    async def serve() -> int:
        async with StunServer(addresses):
            os.write(1, b"true\n")
            await asyncio.Event().wait()
        return 0

    serving = lab.spawn(SERVER, lambda: asyncio.run(serve()))
    beginning = Beginning(SERVER, _NAME, serving)
    try:
        try:
            Remote(SERVER, serving).answer()
        except PeerError as error:
            raise beginning.unready(error.message) from error
        with watched(lab, SERVER, _NAME, serving):
            yield (first, _PORTS[0]), (second, _PORTS[1])
    finally:
        serving.kill()


class _Experiment:
    """The runs of one case."""

    def __init__(self, lab: Lab, case: Case, servers: tuple[Address, Address]) -> None:
        self.late = 0.0
        self._lab, self._case, self._servers = lab, case, servers
        self._hosts = _subscribers(case)
        self._unused = cycle(range(2048, 65536))
        self._turn: asyncio.Lock  # from sounding to opening, no other run may open
        self._next = 0.0  # when the next run may start, by the loop's clock
        taken = granted(case.sockets, case.quota) + case.in_use + case.crossing + 3
        room = min(case.hard.ports.size, _TABLE) / 2
        self._apart = _FORGOTTEN * max(taken / room, 0 if case.quota is None else 1 / self._hosts)

    async def runs(self, numbers: range) -> list[Told]:
        """Several at a time, in order of their numbers."""
        self._turn = asyncio.Lock()
        places = asyncio.Semaphore(min(_AT_ONCE, max(1, _DESCRIPTORS // self._case.sockets)))
        watch = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                tasks = []
                for number in numbers:
                    await places.acquire()
                    await self._pause()
                    tasks.append(group.create_task(self._run(number)))
                    tasks[-1].add_done_callback(lambda _: places.release())
            return [task.result() for task in tasks]
        except ExceptionGroup as errors:
            first = _first(errors)
            if isinstance(first, DeadlineError):
                raise PeerError(f"{self._case.title}: {first}") from errors
            raise
        finally:
            watch.cancel()

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + self._apart

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + _BEAT
            await asyncio.sleep(_BEAT)
            self.late = max(self.late, time.monotonic() - due)

    async def _run(self, number: int) -> Told:
        rng = random.Random(f"{self._case.seed}/{self._case.title}/{number}")
        session, host = rng.randbytes(16), _host(number % self._hosts)
        with ExitStack() as stack:
            easy = self._socket(stack, EASY)
            hard = [self._socket(stack, host) for _ in range(self._case.sockets)]
            held = [self._socket(stack, host) for _ in range(self._case.in_use)]
            try:
                async with asyncio.timeout(_RUN_DEADLINE):
                    remote = await mapped(easy, self._servers[0])
                    await asyncio.gather(*(mapped(one, self._servers[0]) for one in held))
                    return await self._punch(session, rng, hard, easy, remote)
            except TimeoutError:
                waited = f"run {number}: its sides did not end within {_RUN_DEADLINE:g} s"
                raise DeadlineError(waited) from None

    async def _punch(
        self,
        session: bytes,
        rng: random.Random,
        hard: Sequence[socket],
        easy: socket,
        remote: Address,
    ) -> Told:
        limits, clock = self._case.strategy.limits, asyncio.get_running_loop().time
        opened = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            async with self._turn:
                ports = await self._ports(rng, hard[0])
                opener = Opener(session, remote, len(hard), limits, clock())
                opening = None
                if not self._case.silent:
                    opening = group.create_task(drive(opener, hard, opened=opened.set))
                    await opened.wait()
            prober = Prober(session, self._outside, ports, limits, clock())
            there = await drive(prober, [easy])
            if opening is not None and there is None:
                opening.cancel()  # by way of the channel: we have given up
        here = opener.hit
        hit = there is not None and here is not None and here.remote == remote
        return Told(session, hit, opener.sent, prober.sent)

    async def _ports(self, rng: random.Random, hard: socket) -> tuple[int, ...]:
        """The ports to probe; a prediction's with the neighbour's mappings in between."""
        strategy = self._case.strategy
        if isinstance(strategy, Birthday):
            return strategy.draw(rng)
        sounding = await sound(hard, *self._servers)
        with ExitStack() as stack:
            others = range(_poisson(rng, self._case.crossing))
            crossing = [self._socket(stack, NEIGHBOUR) for _ in others]
            await asyncio.gather(*(mapped(one, self._servers[0]) for one in crossing))
        return sounding.next_ports(strategy.candidates)

    @property
    def _outside(self) -> str:
        return str(self._lab.plan.address("nat-a"))

    def _socket(self, stack: ExitStack, node: str) -> socket:
        """On a port that none had for long: a NAT remembers one that the kernel gives again."""
        made = stack.enter_context(self._lab.socket(node, AF_INET, SOCK_DGRAM))
        made.bind(("0.0.0.0", next(self._unused)))
        return made


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _poisson(rng: random.Random, mean: float) -> int:
    """How many arrivals of a Poisson process come within ``mean`` mean gaps."""
    arrivals, waited = 0, rng.expovariate(1.0)
    while waited < mean:
        arrivals += 1
        waited += rng.expovariate(1.0)
    return arrivals
