"""One line a figure, on the terminal and in the results."""

import statistics
import time
from collections.abc import Callable

Results = dict[str, float]


def head() -> None:
    """The columns' names."""
    print(f"{'what':58} {'figure':>14}  note")


def say(results: Results, what: str, figure: float, unit: str, note: str = "") -> None:
    """Print one figure and keep it."""
    results[what] = figure
    print(f"{what:58} {figure:>9.2f} {unit:4}  {note}", flush=True)


def median_ms(action: Callable[[], None], rounds: int = 15) -> float:
    """Of so many rounds, one after the other."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)
