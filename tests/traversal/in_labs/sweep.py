"""The nine RFC 4787 pairs: `python -m tests.traversal.in_labs.sweep tcp|udp [repeat]`.

Prints one JSON line a cell: what happened beside what DCUtR's own rules say.
"""

import itertools
import json
import sys
import time

from testbed.lab import sandbox

MAPPINGS, FILTERS = ("eim", "adm", "apdm"), ("eif", "adf", "apdf")
PROFILES = tuple(f"{m}-{f}" for m, f in itertools.product(MAPPINGS, FILTERS))


def passes(source: str, target: str) -> bool:
    """Does `source`'s packet to one of `target`'s signalled ports get in, both having sent?

    A port that a dependent mapping made towards an observer is another one than what it
    makes towards the peer: nothing but an endpoint-independent filter lets a packet in there.
    """
    mapping, filtering = target.split("-")
    if filtering == "eif":
        return True
    if mapping != "eim":
        return False
    return filtering == "adf" or source.startswith("eim")


def predicted(a: str, b: str, transport: str) -> str:
    """`a` dials through the relay, so `b` leads: it may reverse, and is the QUIC server."""
    if a == "eim-eif":
        return "reversed"  # an address that four observers agree on is advertised, and open
    if passes(a, b) or (transport == "tcp" and passes(b, a)):
        return "punched"
    return "relayed"


def run_cell(a: str, b: str, transport: str) -> dict[str, object]:
    from .lab import world

    start = time.monotonic()
    options = {"punch_timeout": 2.0, "reversal_timeout": 1.0}
    with world(a, b, transport, upgrade=options) as w:
        w.observe(w.a, w.b)
        w.relayed()
        how = w.b.wait_any(30, "Upgraded", "UpgradeFailed").get("how", "relayed")
        attempts = max([e["attempt"] for e in w.b.events if e["event"] == "PunchStep"], default=0)
        upgraded = next((e for e in w.b.events if e["event"] == "Upgraded"), {})
    return {
        "a": a, "b": b, "transport": transport, "measured": how,
        "predicted": predicted(a, b, transport), "attempts": attempts,
        "upgrade_s": upgraded.get("seconds"), "cell_s": round(time.monotonic() - start, 2),
    }  # fmt: skip


def main() -> int:
    sandbox.enter()
    transport, repeat = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    differ = 0
    for a, b in itertools.product(PROFILES, PROFILES):
        for _ in range(repeat):
            try:
                cell = run_cell(a, b, transport)
            except (TimeoutError, EOFError, AssertionError) as error:
                cell = {"a": a, "b": b, "transport": transport, "error": str(error)[:300]}
            differ += cell.get("measured") != cell.get("predicted") or "error" in cell
            print(json.dumps(cell), flush=True)
    print(f"{differ} of {len(PROFILES) ** 2 * repeat} cells differ", file=sys.stderr)
    return differ > 0


if __name__ == "__main__":
    sys.exit(main())
