"""Measures somebody's rules, and says what of them the measurement did not touch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from testbed.certify import prober
from testbed.certify.certificates import SHORT
from testbed.certify.foreign import router
from testbed.certify.foreign.bench import bench, look_for
from testbed.certify.foreign.rule import BEYOND, SOURCE, TRANSLATING, Action, Rule, Ruleset
from testbed.certify.foreign.survey import Survey, Told, survey
from testbed.certify.measured import Measured
from testbed.errors import ProbeError, UsageError
from testbed.lab.audit import require_closed
from testbed.lab.namespaces import Namespaces
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.profile import Profile
from testbed.nat.rules import sysctls
from testbed.plan.planner import FORWARDING

# Of the bench, and the same for rules as for profiles: timers that nobody minds, every answer.
_CONDITIONS = (*(item for item in sysctls(SHORT) if item != FORWARDING), FORWARDING)


class Probed(FrozenValue):
    """What was measured, where, and the rules that no packet of it has matched."""

    measured: Measured
    site: Survey
    rules: int
    idle: tuple[Rule, ...]


def measure(path: Path, told: Told, profile: Profile) -> Probed:
    """Measure the rules in the file ``path``; inside a sandbox.

    ``profile`` lends the bench its shape and nothing else.  UsageError where the rules do not
    parse, where they and the bench do not fit together, and where they need what it has not got.
    """
    engine, text = router.read(path)
    usual = bench(Survey("wan", "lan", (), (), None, (), None), profile)
    ruleset = router.understood(path, engine, text, usual)
    site = survey(ruleset.rules, told)
    steps = bench(site, profile)
    counts = Counter[str]()

    @contextmanager
    def started() -> Iterator[Lab]:
        with Namespaces().start(steps) as lab:
            require_closed(lab)
            router.load(lab, path, engine, text)
            router.set_sysctls(lab, _CONDITIONS)
            router.count(lab, ruleset)
            try:
                yield lab
            finally:
                counts.update(router.counts(lab, ruleset))

    try:
        measured = prober.probe(started, look_for(ruleset, steps))
    except ProbeError:
        _require_within(ruleset, counts)
        raise
    _require_within(ruleset, counts)
    idle = tuple(rule for rule in ruleset.rules if counts.get(rule.key) == 0)
    _require_touched(ruleset, idle, measured)
    return Probed(measured, site, len(ruleset.rules), idle)


def _require_within(ruleset: Ruleset, counts: Mapping[str, int]) -> None:
    """UsageError where packets went to what the bench has not got: nothing follows from them."""
    for rule in ruleset.rules:
        if rule.action in BEYOND and counts.get(rule.key):
            raise UsageError(
                f"{rule.text}: this takes {BEYOND[rule.action]}, which the bench has not got",
                remedy="measure a copy without this rule, if it is not what you want to know",
            )


def _require_touched(ruleset: Ruleset, idle: Sequence[Rule], measured: Measured) -> None:
    """UsageError where the rules that make a NAT of the router matched nothing at all."""
    for kinds in (SOURCE, TRANSLATING):
        mine = [rule for rule in ruleset.rules if rule.action in kinds]
        if mine and all(rule in idle for rule in mine):
            raise UsageError(
                f"no packet of the bench matched {mine[0].text}: what was measured is not this NAT",
                remedy="say --wan, --lan and --address as they are in the rules",
            )
    if measured.udp.blocked.value and measured.tcp.blocked.value:
        passing = [r for r in idle if r.action is Action.ACCEPT and _is_particular(r)]
        if passing:
            raise UsageError(
                f"nothing was let out, and no packet of the bench matched {passing[0].text}",
                remedy="say --wan, --lan and --address as they are in the rules",
            )


def _is_particular(rule: Rule) -> bool:
    return bool(rule.interfaces or rule.source or rule.destination)
