"""`testbed nat probe` and `testbed nat certify`."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from testbed.certify.certificates import SHORT, Certificate, Verdict, certify_all
from testbed.certify.derive import derive
from testbed.certify.foreign.measure import measure as measure_rules
from testbed.certify.foreign.survey import Told
from testbed.certify.measured import Measured
from testbed.certify.nearest import Near, nearest
from testbed.certify.prober import probe as measure
from testbed.certify.prober.limits import LookFor
from testbed.errors import Exit, UsageError
from testbed.files import require_writable, write_text
from testbed.lab import sandbox
from testbed.lab.audit import require_closed
from testbed.lab.choice import Kind, backend
from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab
from testbed.model.presets import probe_bench
from testbed.model.profile import Profile
from testbed.nat.load import DEFAULT, catalogue, find, named
from testbed.plan.planner import plan
from testbed.report import profiles as words
from testbed.report.certificates import markdown
from testbed.report.certificates import told as told_of
from testbed.report.foreign import of_rules, rules_json
from testbed.report.terminal import tell, terminal
from testbed.words import sentence

_USUAL = "linux-home"  # measured where nothing is named


def probe(
    profile: str | None,
    rules: Path | None,
    told: Told,
    as_json: bool,
    *,
    as_toml: bool = False,
    out: Path | None = None,
) -> int:
    """Measure one NAT, a profile's or one given as a file of rules; the exit code.

    ``told``: what the user says of the place that the rules are from.

    ``as_toml``: it is printed as a profile, or written to ``out``.
    """
    if as_toml and as_json:
        raise UsageError("--toml and --json are two forms of one output", remedy="choose one")
    if out is not None:
        _require_profile(out, as_toml=as_toml)
    found = find(profile or _USUAL)
    sandbox.enter()
    started = time.monotonic()
    probed = measure_rules(rules, told, found) if rules is not None else None
    measured = probed.measured if probed is not None else _of_profile(found)
    subject = rules.name if rules else found.name
    near = nearest(measured, catalogue().values(), mappings=LookFor.mappings)
    if as_json:
        told_json = _measured_json(str(rules or found.name), measured, near)
        print(json.dumps(told_json | (rules_json(probed) if probed else {}), indent=2))
    elif as_toml:
        kernel = SHORT if rules else None
        derived = derive(measured, mappings=LookFor.mappings, kernel=kernel)
        _write_profile(words.toml(derived, subject, near), out)
    else:
        terminal().print(_measured_table(subject, measured, time.monotonic() - started))
        tell("\n".join(words.nearest(near)))
        if probed:
            print(words.TIMERS)
    if probed and not as_json:
        tell("\n".join(of_rules(probed)), error=True)
    return int(Exit.AGREED)


def _of_profile(profile: Profile) -> Measured:
    @contextmanager
    def started() -> Iterator[Lab]:
        with Namespaces().start(plan(probe_bench(profile), {profile.name: profile})) as lab:
            require_closed(lab)
            yield lab

    return measure(started)


def _require_profile(out: Path, *, as_toml: bool) -> None:
    """Before anything is measured: can the profile be written there, and found again?"""
    if not as_toml:
        raise UsageError("-o is for a profile", remedy="say --toml, too")
    if out.suffix != ".toml":
        raise UsageError(f"{out}: a profile's file is called NAME.toml")
    if (DEFAULT / out.name).exists():
        raise UsageError(
            f"{out}: there is a profile of the testbed's own called {out.stem}",
            remedy="choose another name",
        )
    require_writable(out)


def _write_profile(text: str, out: Path | None) -> None:
    if out is None:
        print(text, end="")
        return
    write_text(out, text)
    tell(f"wrote {out}; now: testbed nat certify {out}")


def _measured_json(subject: str, measured: Measured, near: Sequence[Near]) -> dict[str, Any]:
    return {
        "subject": subject,
        "axes": measured.to_json(),
        "nearest": [
            {
                "profile": one.profile.name,
                "agrees": one.agrees,
                "differs": [
                    {"axis": row.axis, "declared": row.declared, "measured": row.measured}
                    for row in one.differs
                ],
            }
            for one in near
        ],
    }


def _measured_table(subject: str, measured: Measured, seconds: float) -> Table:
    shown = Table(title=f"{subject}, measured in {seconds:.0f} s", title_justify="left")
    shown.add_column("axis", no_wrap=True)
    shown.add_column("measured")
    shown.add_column("evidence", style="dim")
    for axis, finding in measured.axes():
        value = "-" if finding.value is None else _say(finding.value)
        shown.add_row(axis, value, sentence(finding.evidence))
    return shown


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " to ".join("more" if part is None else str(part) for part in value)
    return str(value)


def certify(
    names: Sequence[str],
    jobs: int,
    document: Path | None,
    as_json: bool,
    kind: Kind,
    *,
    detailed: bool,
) -> int:
    """Certify profiles (none named: all); the exit code.  ``detailed``: print every axis."""
    profiles = named(names) if names else list(catalogue().values())
    require_writable(document)
    sandbox.enter()
    made_by = backend(kind)
    errors = terminal(stderr=True)
    started = time.monotonic()
    done = 0

    def progress(certificate: Certificate) -> None:
        nonlocal done
        done += 1
        words = f"{certificate.verdict.lower()} in {certificate.seconds:.0f} s"
        errors.print(f"{done:3} of {len(profiles)}  {certificate.profile}: {words}")

    certificates = certify_all(profiles, kind.at_once(jobs), progress, made_by)
    if document is not None:
        write_text(document, markdown(certificates, {p.name: p for p in profiles}))
    if as_json:
        print(json.dumps([certificate.to_json() for certificate in certificates], indent=2))
    else:
        sys.stderr.flush()
        seconds = time.monotonic() - started
        terminal(highlight=False).print(told_of(certificates, seconds, detailed=detailed))
    return int(exit_code(certificates))


def exit_code(certificates: Sequence[Certificate]) -> Exit:
    verdicts = {certificate.verdict for certificate in certificates}
    if Verdict.FAIL in verdicts:
        return Exit.DIFFERS
    return Exit.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Exit.AGREED
