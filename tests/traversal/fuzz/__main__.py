"""Run targets under libFuzzer: `python -m traversal.fuzz [--seconds N] [TARGET ...]`.

Each target runs in a process of its own; its corpus grows in `out/fuzz/<target>`, and an
input that breaks a promise is left beside it.  Ends with 1 when there was one.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

HOME = Path("out/fuzz")
_COUNT = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")
_MARGIN = 120  # seconds for imports and instrumentation before a target counts as stuck


def fuzz_here(name: str, seconds: int) -> None:
    """Become libFuzzer; does not return."""
    import atheris

    with atheris.instrument_imports(include=["testbed.traversal"]):
        from . import messages, pipes, portmap, rent, wire
        from .registry import MAX_INPUT, TARGETS
    del messages, pipes, portmap, rent, wire
    target, corpus = TARGETS[name], HOME / name / "corpus"
    target.write_seeds(corpus)
    options = [
        f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", "-timeout=10", "-rss_limit_mb=1024",
        "-print_final_stats=1", f"-artifact_prefix={HOME / name}/",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> bool:
    """One target; prints its line, and libFuzzer's output when it failed."""
    assert __spec__ is not None
    command = [sys.executable, "-m", __spec__.name, "--here", name, "--seconds", str(seconds)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=seconds + _MARGIN, check=False,
    )  # fmt: skip
    inputs = int(found[1]) if (found := _COUNT.search(done.stdout)) else 0
    coverage = _COVERAGE.findall(done.stdout)
    verdict = "ok" if done.returncode == 0 and inputs else "FAILED"
    print(f"{name:18} {inputs:>10} inputs  {coverage[-1] if coverage else 0:>5} edges  {verdict}")
    if verdict == "FAILED":
        print("\n".join(done.stdout.splitlines()[-40:]))
    sys.stdout.flush()
    return verdict == "ok"


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz_here(options.here, options.seconds)
    try:
        import atheris
    except ImportError:
        print("atheris is missing: run `make fuzz`, which installs it", file=sys.stderr)
        return 4
    del atheris
    from . import messages, pipes, portmap, rent, wire
    from .registry import TARGETS

    del messages, pipes, portmap, rent, wire
    results = [fuzz(name, options.seconds) for name in options.targets or TARGETS]
    return 0 if all(results) else 1


sys.exit(main())
