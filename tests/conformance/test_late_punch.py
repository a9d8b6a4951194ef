"""A TCP punch whose first SYN was refused: what the router that sent it remembers."""

import json
from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.run.matrix import run_matrix
from testbed.studies.punch.cell import Cell

pytestmark = pytest.mark.timeout(200)
LATE_MS = 500.0
# Who refuses the early SYN by ICMP leaves a's router with a session for it.  What a's
# listener answers to b's late SYN has another sequence number: out of the window.
ENDS = {
    "rejecting-icmp--rejecting-icmp": (Outcome.NONE, True),
    "linux-home--rejecting-icmp": (Outcome.NONE, True),
    "rejecting-icmp--linux-home": (Outcome.DIRECT, False),  # silence: the SYN is sent again
}


def test_a_syn_refused_by_icmp_leaves_a_session_that_spoils_the_late_punch(tmp_path: Path) -> None:
    cells = [Cell("punch-tcp", tuple(names.split("--")), skew_ms=LATE_MS) for names in ENDS]
    rows = run_matrix(
        cells, catalogue(), Namespaces(), tmp_path, jobs=3, facts={}, progress=lambda *_: None
    )
    found = {}
    for names, row in zip(ENDS, rows, strict=True):
        assert row.judgement is Judgement.PASS, row.reason
        drops = json.loads((Path(row.folder) / "drops.json").read_text())
        assert row.measured is not None
        found[names] = Outcome(row.measured), drops["nat-a"]["invalid"] > 0
    assert found == ENDS
