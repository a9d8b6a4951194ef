"""`testbed compose certify`."""

import json
import sys
import time
from pathlib import Path

from testbed.cli.commands.nat import exit_code
from testbed.compose.certify import certified
from testbed.compose.source import read
from testbed.lab.containers.engine import require_root
from testbed.report.certificates import told
from testbed.report.terminal import terminal


def certify(folder: Path, as_json: bool) -> int:
    """Hold each router of a project that is up against its profile; the exit code."""
    source = read(folder)
    require_root()
    started = time.monotonic()
    errors, certificates = terminal(stderr=True), []
    for found in certified(folder, source):
        certificate = found.certificate
        words = f"{certificate.verdict.lower()} in {certificate.seconds:.0f} s"
        errors.print(f"{certificate.profile}: {words}")
        if found.left_out:
            errors.print(f"  left out: {', '.join(found.left_out)}", soft_wrap=True)
        certificates.append(certificate)
    certificates.sort(key=lambda certificate: certificate.profile)
    if as_json:
        print(json.dumps([certificate.to_json() for certificate in certificates], indent=2))
    else:
        sys.stderr.flush()
        seconds = time.monotonic() - started
        terminal(highlight=False).print(told(certificates, seconds, detailed=False))
    return int(exit_code(certificates))
