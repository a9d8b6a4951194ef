"""What receipts cost: a stream that is forwarded for them beside one that is forwarded for nothing.

The same relay, ends and lab; both ways in turns.  By default terms a receipt is due each 512 KiB,
and is on the relay's disk before more is lent.
"""

import statistics
from dataclasses import replace

from testbed.bench.table import Results, say
from testbed.bench.throughput import Run, over
from testbed.bench.ways import OURS, RENTED
from testbed.model.presets import ACCESS, BARE
from testbed.model.topology import Link

ROUNDS = {"bare wires": (BARE, 9), "home links": (ACCESS, 3)}
LEAST_RATE, MOST_BYTES = 0.8, 1.01  # of a plain relay's


def measure(results: Results) -> None:
    """Each figure as a ratio: with receipts, to without."""
    for path, (link, rounds) in ROUNDS.items():
        for key in RENTED:
            _compare(results, f"{key.removeprefix('relay-').upper()}, {path}", key, link, rounds)


def _compare(results: Results, what: str, key: str, link: Link, rounds: int) -> None:
    plain = replace(OURS[key], mib=RENTED[key].mib)
    runs = over(link, {"plain": plain, "rented": RENTED[key]}, rounds)
    if not all(runs.values()):
        print(f"receipts, {what}: not every way got through")
        return
    for field, words, unit in (
        ("rate", "rate", "MB/s"), ("cpu", "the relay's processor time", "ms/MB"),
        ("wire", "bytes at the relay, in and out", "B/B"),
    ):  # fmt: skip
        without, with_ = (_median(runs[one], field) for one in ("plain", "rented"))
        say(
            results, f"receipts, {what}: {words}, with / without", with_ / without, "x",
            f"{with_:.4g} / {without:.4g} {unit}{_kept(field, with_ / without)}",
        )  # fmt: skip


def _median(runs: list[Run], field: str) -> float:
    figures: list[float] = [getattr(run, field) for run in runs]
    return statistics.median(figures)


def _kept(field: str, ratio: float) -> str:
    """What is promised of it, and whether that holds."""
    if field == "rate":
        return f"; goal: at least {LEAST_RATE:g}{'' if ratio >= LEAST_RATE else ': MISSED'}"
    if field == "wire":
        return f"; goal: at most {MOST_BYTES:g}{'' if ratio <= MOST_BYTES else ': MISSED'}"
    return ""
