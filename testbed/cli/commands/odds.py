"""`testbed odds`: prediction and birthday probing against hard NATs, beside theory."""

from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.studies.odds.cases import cases
from testbed.studies.odds.study import odds


def run_odds(runs: int, seed: int, engine: EngineWords) -> int:
    """Run every case ``runs`` times, and report; the exit code."""
    return run_cases(odds(runs), cases(runs, seed), engine, seed=seed, stacks=())
