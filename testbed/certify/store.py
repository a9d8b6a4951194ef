"""Certificates that are kept, so that a NAT is measured once.

One that says PASS is kept as long as the rules, the claim, the prober and the kernel stay the same.
"""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from testbed import places
from testbed.certify.certificates import (
    JOBS,
    Certificate,
    Progress,
    Verdict,
    certify_all,
    shortened,
)
from testbed.certify.claims import claims
from testbed.certify.prober.limits import LookFor
from testbed.model.presets import probe_bench
from testbed.model.profile import Profile
from testbed.plan.planner import plan
from testbed.stacks.versions import loaders


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/nat-testbed/certificates``."""
    return places.cached() / "certificates"


def certified(
    profiles: Sequence[Profile],
    cache: Path | None = None,
    jobs: int = JOBS,
    progress: Progress | None = None,
) -> dict[str, Certificate]:
    """A certificate for each profile by name, measured only where none is kept.

    Only PASS is kept, in the folder ``cache`` (default: `default_cache`); a folder
    that cannot be written costs the next run time, and nothing else.
    """
    folder = cache or default_cache()
    files = {profile.name: folder / f"{profile.name}-{key(profile)}.json" for profile in profiles}
    kept = {profile.name: _read(files[profile.name], profile) for profile in profiles}
    found = {name: certificate for name, certificate in kept.items() if certificate is not None}
    for certificate in found.values():
        if progress is not None:
            progress(certificate)
    missing = [profile for profile in profiles if profile.name not in found]
    for certificate in certify_all(missing, jobs, progress):
        found[certificate.profile] = certificate
        if certificate.verdict is Verdict.PASS:
            _write(files[certificate.profile], certificate)
    return {profile.name: found[profile.name] for profile in profiles}


def key(profile: Profile) -> str:
    """What a certificate depends on, hashed: the bench's plan, claim, prober, tools, kernel."""
    made = plan(probe_bench(profile), {profile.name: profile})
    parts = (
        *map(repr, made.steps),
        repr(profile.behaviour),
        *_sources(),
        *_tools(),
        platform.release(),
        platform.version(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@cache
def _tools() -> tuple[str, str]:
    return loaders()


@cache
def _sources() -> list[str]:
    """The text of prober and backend: an edited experiment asks for new certificates."""
    files = [
        file for part in ("nat", "certify", "lab") for file in (places.PACKAGE / part).rglob("*.py")
    ]
    return [file.read_text(encoding="utf-8") for file in sorted(files)]


def _read(file: Path, profile: Profile) -> Certificate | None:
    """What is kept, if it is a PASS of this profile on exactly the axes of its claim."""
    try:
        kept = Certificate.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    behaviour = shortened(profile).behaviour
    claimed = claims(behaviour, mappings=LookFor.mappings)
    whole = [(row.axis, row.declared, row.agrees) for row in kept.rows] == [
        (axis, claim.declared, True) for axis, claim in claimed.items()
    ]
    passed = kept.profile == profile.name and kept.verdict is Verdict.PASS
    return kept if passed and whole else None


def _write(file: Path, certificate: Certificate) -> None:
    """All or nothing, also beside another run."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(certificate.to_json(), indent=1), encoding="utf-8")
        draft.replace(file)
