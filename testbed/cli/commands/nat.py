"""`testbed nat probe` and `testbed nat certify`."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from testbed.certify.certificates import SHORT, Certificate, Verdict, certify_all
from testbed.certify.derive import Near, derive, nearest
from testbed.certify.measured import Measured
from testbed.certify.prober import LookFor
from testbed.certify.prober import probe as measure
from testbed.errors import Exit, UsageError
from testbed.files import require_writable, write_text
from testbed.lab import sandbox
from testbed.lab.audit import require_closed
from testbed.lab.choice import Kind, backend
from testbed.lab.loading import RefusedRulesError
from testbed.lab.namespaces import Namespaces
from testbed.model.plan import Engine, LoadRules, Plan, ServePortMapping, SetSysctls, Step
from testbed.model.presets import probe_bench
from testbed.nat.load import DEFAULT, catalogue, find, named
from testbed.nat.rules import sysctls
from testbed.plan.planner import FORWARDING, plan
from testbed.report import profiles as words
from testbed.report.certificates import markdown, told

_ENGINES = {".nft": Engine.NFTABLES, ".rules": Engine.IPTABLES}


def probe(
    profile: str,
    rules: Path | None,
    as_json: bool,
    *,
    as_toml: bool = False,
    out: Path | None = None,
) -> int:
    """Measure one NAT, a profile's or one given as a file of rules; the exit code.

    ``as_toml``: it is printed as a profile, or written to ``out``.
    """
    if as_toml and as_json:
        raise UsageError("--toml and --json are two forms of one output", remedy="choose one")
    if out is not None:
        _require_profile(out, as_toml=as_toml)
    found = find(profile)
    steps = plan(probe_bench(found.name), {found.name: found})
    if rules is not None:
        steps = _with_rules(steps, rules)
    sandbox.enter()
    started = time.monotonic()
    try:
        with Namespaces().start(steps) as lab:
            require_closed(lab)
            measured = measure(lab)
    except RefusedRulesError as error:
        if rules is None:
            raise
        raise UsageError(f"{rules}: {error.said}: {error.complaint}") from error
    subject = rules.name if rules else profile
    near = nearest(measured, catalogue().values(), mappings=LookFor.mappings)
    if as_json:
        print(json.dumps(_measured_json(str(rules or profile), measured, near), indent=2))
    elif as_toml:
        kernel = SHORT if rules else None
        derived = derive(measured, mappings=LookFor.mappings, kernel=kernel)
        _write_profile(words.toml(derived, subject, near), out)
    else:
        Console().print(_measured_table(subject, measured, time.monotonic() - started))
        print("\n".join(words.nearest(near)))
        if rules:
            print(words.TIMERS)
    return int(Exit.AGREED)


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
    print(f"wrote {out}; now: testbed nat certify {out}")


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


def _with_rules(steps: Plan, rules: Path) -> Plan:
    """The bench with somebody's own rules in the router instead of the profile's."""
    engine = _ENGINES.get(rules.suffix)
    if engine is None:
        raise UsageError(f"{rules}: is it nft or iptables?", remedy="name it *.nft or *.rules")
    try:
        text = rules.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{rules}: {error}") from error
    router = steps.topology.routers[0].name
    replaced = LoadRules | SetSysctls | ServePortMapping
    kept: list[Step] = [s for s in steps.steps if not isinstance(s, replaced)]
    quiet = tuple(item for item in sysctls(SHORT) if item != FORWARDING)
    own: list[Step] = [LoadRules(router, engine, text), SetSysctls(router, (*quiet, FORWARDING))]
    return replace(steps, steps=(*kept, *own))


def _measured_table(subject: str, measured: Measured, seconds: float) -> Table:
    shown = Table(title=f"{subject}, measured in {seconds:.0f} s", title_justify="left")
    shown.add_column("axis", no_wrap=True)
    shown.add_column("measured")
    shown.add_column("evidence", style="dim")
    for axis, finding in measured.axes():
        value = "-" if finding.value is None else _say(finding.value)
        shown.add_row(axis, value, finding.evidence)
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
    errors = Console(stderr=True)
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
        Console(highlight=False).print(told(certificates, seconds, detailed=detailed))
    return int(exit_code(certificates))


def exit_code(certificates: Sequence[Certificate]) -> Exit:
    verdicts = {certificate.verdict for certificate in certificates}
    if Verdict.FAIL in verdicts:
        return Exit.DIFFERS
    return Exit.INCONCLUSIVE if Verdict.INCONCLUSIVE in verdicts else Exit.AGREED
