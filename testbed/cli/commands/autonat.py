"""`testbed autonat`: AutoNAT's verdicts beside the truth and the prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.cli.commands.running import Asked, Reporter, Reports, carry_out
from testbed.lab.choice import Kind
from testbed.model.lab import Backend
from testbed.model.result import Result
from testbed.nat.load import catalogue, named
from testbed.report.autonat import picture
from testbed.run.engine import folder_of, run_study
from testbed.run.folder import Files
from testbed.run.shards import Shard
from testbed.stacks.registry import OURS
from testbed.stacks.versions import facts
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.study import CAPTURE, AutonatCase, autonat


@dataclass(frozen=True)
class AutonatRequest:
    """The words of `testbed autonat`; no ``names``: the whole catalogue.

    ``clients`` and ``servers`` are libp2p stacks with commas: each client asks servers of each
    kind.  Without them our own stack asks its own.
    """

    names: Sequence[str]
    clients: str | None
    servers: str | None
    jobs: int
    out: Path
    kind: Kind
    shard: Shard | None
    resume: bool
    reports: Reports
    as_json: bool

    def asked(self) -> list[Asking | None]:
        """Who asks whom; UsageError or UnfitError for a stack that cannot."""
        if not (self.clients or self.servers):
            return [None]
        found = [
            Asking(client, server)
            for client in (self.clients or OURS).split(",")
            for server in (self.servers or OURS).split(",")
        ]
        for one in found:
            one.prepare()
        return [*found]


def run_autonat(request: AutonatRequest) -> int:
    """Measure the profiles, and print one table; the exit code."""
    profiles = named(request.names) if request.names else list(catalogue().values())
    used = {profile.name: profile for profile in profiles}
    cases = [AutonatCase(name, one) for one in request.asked() for name in used]
    study = autonat(used)
    folders = [folder_of(case, tries) for case in cases for tries in range(1, study.tries + 1)]
    asked = Asked(
        "autonat",
        cases,
        used,
        request.out,
        [Files(tuple(folders), (CAPTURE,))],
        facts(),
        kind=request.kind,
        shard=request.shard,
        resume=request.resume,
        reports=request.reports,
        as_json=request.as_json,
    )

    def work(
        made_by: Backend,
        some: Sequence[AutonatCase],
        done: Mapping[str, Result],
        reporter: Reporter,
    ) -> list[Result]:
        return run_study(
            study,
            some,
            made_by,
            request.out,
            jobs=request.kind.at_once(request.jobs),
            progress=reporter.report,
            done=done,
        )

    return carry_out(asked, work, picture)
