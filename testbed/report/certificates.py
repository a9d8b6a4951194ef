"""Certificates on a terminal and as a document."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from testbed.certify.certificates import Certificate, Verdict
from testbed.certify.claims import Row
from testbed.model.profile import Profile
from testbed.words import sentence

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


def told(certificates: Sequence[Certificate], seconds: float, *, detailed: bool) -> Group:
    """A summary line, then each NAT that is not what it declares, with the axes that differ.

    With ``detailed`` every NAT and every axis.  Nothing is set in columns that a narrow
    terminal would cut: lines wrap between words.
    """
    lines: list[RenderableType] = [Text(_summary(certificates, seconds), "bold")]
    rows = [row for certificate in certificates for row in certificate.rows]
    if short := next((row for row in rows if row.shortened_from), None):
        words = f"a declared {short.shortened_from} was certified with {short.declared}"
        lines.append(Text(f"timers were shortened: {words}, by the same rules", "dim"))
    for certificate in certificates:
        if detailed or certificate.verdict is not Verdict.PASS:
            lines += ["", *_told(certificate, detailed=detailed)]
    if rows and not detailed:
        lines.append(Text("-v shows every axis and what was seen of it", "dim"))
    return Group(*lines)


def _summary(certificates: Sequence[Certificate], seconds: float) -> str:
    """``35 of 37 NATs are what they declare, 1 differs, 1 could not be measured (40 s)``."""
    verdicts = Counter(certificate.verdict for certificate in certificates)
    failed, unclear = verdicts[Verdict.FAIL], verdicts[Verdict.INCONCLUSIVE]
    good, count = verdicts[Verdict.PASS], len(certificates)
    words = f"{good} of {count} {'NAT' if count == 1 else 'NATs'} "
    words += "is what it declares" if good == 1 else "are what they declare"
    words += f", {failed} {'differs' if failed == 1 else 'differ'}" if failed else ""
    words += f", {unclear} could not be measured" if unclear else ""
    return f"{words} ({seconds:.0f} s)"


def _told(certificate: Certificate, *, detailed: bool) -> Iterator[RenderableType]:
    """One NAT: its verdict, and its axes."""
    verdict = Text(certificate.verdict.lower(), _STYLES[certificate.verdict])
    head = Text.assemble(certificate.profile, ": ", verdict)
    differing = [row for row in certificate.rows if not row.agrees]
    if certificate.rows:
        agree = len(certificate.rows) - len(differing)
        head.append(f", {agree} of {len(certificate.rows)} axes are as declared")
    yield head
    if certificate.fault:
        yield Padding(Text(sentence(certificate.fault)), (0, 0, 0, 2))
    for row in certificate.rows if detailed else differing:
        mark = Text("= ", "green") if row.agrees else Text("!=", "bold red")
        yield Padding(Text.assemble(mark, " ", row.axis, ": ", _values(row)), (0, 0, 0, 2))
        yield Padding(Text(row.evidence, "dim"), (0, 0, 0, 5))
    if certificate.unseen:
        words = f"not seen, with so few mappings: {', '.join(certificate.unseen)}"
        yield Padding(Text(words), (0, 0, 0, 2))


def _values(row: Row) -> str:
    if row.agrees and row.declared == row.measured:
        return row.measured
    declared = row.declared
    if row.shortened_from:
        declared = f"{row.shortened_from}, certified with {row.declared}"
    return f"declared {declared}, measured {row.measured}"


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
    differences = "".join(f"| {' | '.join(one)} |\n" for one in _DIFFERENCES)
    return "\n".join(lines) + f"\n{_JUDGES}{differences}"


# What test_independent_judges.py and test_discovery.py hold to be so in a lab of each profile.
_JUDGES = """
## Independent judges

Programs that others wrote run in a lab of each profile, and the tests compare what they print with
the table: coturn's `turnutils_natdiscovery` (RFC 5780), Debian's `stun-client` (RFC 3489), `upnpc`
and `natpmpc`. They agree, but for what a judge has no word for or cannot see from one host:

| judge | profiles | what it says | why |
|---|---|---|---|
"""
_DIFFERENCES = (
    (
        "stun-client",
        "mapping AD or APD",
        '"Dependent Mapping", and nothing of the filtering',
        "RFC 3489 section 10.1 ends its tests there",
    ),
    (
        "stun-client, natdiscovery",
        "firewall",
        "a firewall, or no NAT",
        "without translation there is no mapping to name",
    ),
    (
        "stun-client, natdiscovery",
        "corporate, udp-blocked",
        "blocked, or no answer",
        "their server's port is not let out over UDP",
    ),
    (
        "stun-client, of hairpinning",
        "hairpin-internal",
        "none",
        "a host drops its own packet that comes home from its own address",
    ),
    (
        "natdiscovery",
        "quota-of-three, quota-apdm, port-set-apdm",
        "nothing of the filtering; of quota-apdm, endpoint-independent mapping",
        "its requests use up the mappings, and a refused one shows it nothing",
    ),
    (
        "upnpc, natpmpc",
        "those without port mapping",
        "no gateway, or refused",
        "there is nothing to find",
    ),
)


def _both(udp: str, tcp: str) -> str:
    one, other = (_SHORT.get(value, value) for value in (udp, tcp))
    return one if one == other else f"{one} / {other}"
