"""What `nat certify` prints: a summary first, then what differs, at any width."""

import pytest
from rich.console import Console

from testbed.certify.certificates import Certificate, Verdict
from testbed.certify.claims import Row
from testbed.model.fault import Broke
from testbed.report.certificates import told

EVIDENCE = "20445 from stranger's 20482: drop; 4001 from stranger's 20519: drop; " * 3
GOOD = tuple(Row(f"udp.axis{n}", "drop", "drop", True, EVIDENCE) for n in range(36))
TIMER = Row("timeout_udp", "2 s", "1.5 to 2.5 s", True, EVIDENCE, "60 s")
BAD = Row("udp.mapping", "endpoint_independent", "address_and_port_dependent", False, EVIDENCE)
PASSED = Certificate("linux-home", (*GOOD, TIMER), Verdict.PASS, 9.0)
FAILED = Certificate("boasts", (*GOOD, TIMER, BAD), Verdict.FAIL, 9.0)
BROKEN = Certificate(
    "unloadable", (), Verdict.INCONCLUSIVE, 0.1, Broke(None, None, "nft does not take the rules")
)


def printed(*certificates: Certificate, width: int = 80, detailed: bool = False) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(told(certificates, 40.4, detailed=detailed))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_the_first_line_sums_up_and_what_agrees_is_not_listed(width: int) -> None:
    lines = printed(PASSED, FAILED, BROKEN, width=width)
    summary = "1 of 3 NATs is what it declares, 1 differs, 1 could not be measured (40 s)"
    assert lines[0] == summary
    text = "\n".join(lines)
    assert "linux-home" not in text
    assert "boasts: fail, 37 of 38 axes are as declared" in lines
    assert "axis1" not in text
    assert "  nft does not take the rules" in lines
    assert len(lines) < 20


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("detailed", [True, False])
def test_no_word_is_cut_and_no_line_is_too_long(width: int, detailed: bool) -> None:
    lines = printed(PASSED, FAILED, BROKEN, width=width, detailed=detailed)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert {"address_and_port_dependent", "endpoint_independent,", "stranger's"} <= set(words)


def test_a_pass_takes_three_lines_and_all_of_it_is_there_for_who_asks() -> None:
    assert len(printed(PASSED)) == 3
    text = "\n".join(printed(PASSED, detailed=True))
    assert all(row.axis in text for row in PASSED.rows)


def test_a_timer_that_was_shortened_says_what_it_was_declared_with() -> None:
    assert "  timers were shortened" not in printed(BROKEN)
    brief = " ".join(printed(PASSED))
    assert "timers were shortened: a declared 60 s was certified with 2 s" in brief
    whole = "\n".join(printed(PASSED, detailed=True))
    assert "timeout_udp: declared 60 s, certified with 2 s, measured 1.5 to 2.5 s" in whole
