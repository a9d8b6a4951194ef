"""What is done to a lab or to its machine, at one moment, as frozen values."""

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chaos.situations import SITUATIONS, Situation


class Harm(StrEnum):
    """The values are the words of the table."""

    KILL = "SIGKILL"
    STOP = "SIGSTOP"
    PAUSE = "SIGSTOP, SIGCONT"
    FULL_DISK = "full disk"
    FULL_TMP = "full /tmp"
    READ_ONLY_TMP = "read-only /tmp"
    FEW_DESCRIPTORS = "few descriptors"
    LITTLE_MEMORY = "little memory"
    CLOCK_STEP = "clock step"


SIGNALS = {
    Harm.KILL: (signal.SIGKILL,),
    Harm.STOP: (signal.SIGSTOP,),
    Harm.PAUSE: (signal.SIGSTOP, signal.SIGCONT),
}
# Of a process: how many files more than it has it may open, how many bytes more it may map.
SPARE_FILES, SPARE_BYTES = 2, 1 << 20
MACHINE = "the machine"  # in place of a victim
FEWER = 4  # a quarter of the moments, for harms that are not signals to end or to stop
LIMITED = ("dialer", "coturn", "relay", "the case's worker")  # who has to do with less


@dataclass(frozen=True)
class Injection:
    """``harm`` to a ``victim`` of a situation, at ``moment`` of its time, a share from 0 to 1."""

    number: int
    situation: str
    victim: str
    harm: Harm
    moment: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.number:04}"


def kinds(some: Sequence[Situation]) -> dict[tuple[str, Harm], list[Situation]]:
    """Each kind of process with each signal, and what befalls the machine; and where they are."""
    found: dict[tuple[str, Harm], list[Situation]] = {}
    for one in some:
        for victim in one.victims:
            # Whoever waits for these two is patient; a pause of them is told by what it cost.
            patient = victim in ("delay line", "recorder")
            harms = [Harm.KILL, Harm.STOP] if patient else [*SIGNALS]
            if victim in LIMITED:
                harms += [Harm.FEW_DESCRIPTORS, Harm.LITTLE_MEMORY]
            for harm in harms:
                found.setdefault((victim, harm), []).append(one)
        for harm in (Harm.FULL_DISK, Harm.FULL_TMP, Harm.READ_ONLY_TMP, Harm.CLOCK_STEP):
            found.setdefault((MACHINE, harm), []).append(one)
    return found


def injections(moments: int, seed: int, some: Sequence[Situation]) -> list[Injection]:
    """Each process killed and stopped at so many moments, and a quarter of that for other harms.

    The situations that have it take turns.  Order and moments follow from ``seed``.
    """
    chance = random.Random(seed)
    every = [
        (places[number % len(places)], victim, harm)
        for (victim, harm), places in kinds(some).items()
        for number in range(moments if harm in (Harm.KILL, Harm.STOP) else -(-moments // FEWER))
    ]
    chance.shuffle(every)
    return [
        Injection(number, one.name, victim, harm, chance.random(), chance.getrandbits(32))
        for number, (one, victim, harm) in enumerate(every)
    ]


def on_containers(some: Sequence[Injection]) -> list[Injection]:
    """Those that can be done to labs of containers: signals, to what runs in a node."""
    return [
        one
        for one in some
        if one.harm in (Harm.KILL, Harm.STOP) and one.victim in SITUATIONS[one.situation].processes
    ]
