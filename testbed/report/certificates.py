"""Certificates on a terminal and as a document."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from testbed.nat.certify import Certificate, Verdict
from testbed.nat.profile import Profile

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "magenta"}
# What a reader looks for first; the rest of the axes is in the JSON.
_COLUMNS = (
    ("mapping", "udp.mapping", "tcp.mapping"),
    ("filtering", "udp.filtering", "tcp.filtering"),
    ("ports", "udp.allocation", "tcp.allocation"),
    ("hairpin", "udp.hairpin", "tcp.hairpin"),
    ("unsolicited", "udp.unsolicited", "tcp.unsolicited"),
    ("port mapping", "services", "services"),
)
_SHORT = {
    "endpoint_independent": "EI",
    "address_dependent": "AD",
    "address_and_port_dependent": "APD",
}


def table(certificates: Sequence[Certificate], *, detailed: bool) -> Table:
    """A line a profile, or a line an axis where ``detailed``."""
    shown = Table(title="declared = measured?", title_justify="left", title_style="bold")
    if detailed:
        for column in ("profile", "axis", "declared", "measured", "", "evidence"):
            shown.add_column(column)
        for certificate in certificates:
            for row in certificate.rows:
                mark = Text("=", "green") if row.agrees else Text("!=", "bold red")
                name = certificate.profile
                shown.add_row(name, row.axis, row.declared, row.measured, mark, row.evidence)
            if certificate.reason:
                shown.add_row(certificate.profile, "", "", "", Text("?"), certificate.reason)
        return shown
    for column in ("profile", "axes", "verdict", "seconds", "what differs"):
        shown.add_column(column)
    for certificate in certificates:
        verdict = Text(certificate.verdict.lower(), style=_STYLES[certificate.verdict])
        seconds = f"{certificate.seconds:.1f}"
        axes = str(len(certificate.rows))
        shown.add_row(certificate.profile, axes, verdict, seconds, _differences(certificate))
    return shown


def _differences(certificate: Certificate) -> str:
    lines = [
        f"{row.axis}: declared {row.declared}, measured {row.measured} ({row.evidence})"
        for row in certificate.rows
        if not row.agrees
    ]
    return "\n".join([*lines, certificate.reason] if certificate.reason else lines)


def markdown(certificates: Sequence[Certificate], profiles: Mapping[str, Profile]) -> str:
    """The catalogue as measured: a generated document that a test keeps true.

    It holds no times, so that it changes only when a NAT does.
    """
    names = [name for name, _, _ in _COLUMNS]
    lines = [
        "# The catalogue, as measured",
        "",
        "Written by `testbed nat certify --all --markdown nat-profiles/CATALOGUE.md`.",
        "UDP / TCP where they differ; EI: endpoint-independent, AD: address-dependent,",
        "APD: address-and-port-dependent. Every axis that a profile declares was measured",
        "from outside, with short timers declared for the test.",
        "",
        f"| profile | {' | '.join(names)} | axes measured | verdict | met |",
        f"|---|{'---|' * len(names)}---|---|---|",
    ]
    for certificate in certificates:
        measured = {row.axis: row.measured for row in certificate.rows}
        cells = [_both(measured.get(udp, "-"), measured.get(tcp, "-")) for _, udp, tcp in _COLUMNS]
        lines.append(
            f"| {certificate.profile} | {' | '.join(cells)} | {len(certificate.rows)} "
            f"| {certificate.verdict.lower()} | {profiles[certificate.profile].met} |"
        )
    return "\n".join(lines) + "\n"


def _both(udp: str, tcp: str) -> str:
    one, other = (_SHORT.get(value, value) for value in (udp, tcp))
    return one if one == other else f"{one} / {other}"
