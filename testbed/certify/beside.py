"""NATs that are measured while something else runs, and again alone where that was no success."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

from testbed.certify.certificates import DEADLINE, JOBS, Certificate, Verdict
from testbed.errors import UnfitError
from testbed.lab.forked import Beside
from testbed.model.profile import Profile

Measure = Callable[[Sequence[Profile]], Mapping[str, Certificate]]
Say = Callable[[str], None]


class Certifying:
    """Of ``profiles``, by name, from the moment that this is made until the context is left.

    ``measure`` is called in a fork; for those that do not pass, once more in this process, which
    must have one thread: others that ran beside them may have kept them from that.
    """

    def __init__(self, profiles: Mapping[str, Profile], measure: Measure, say: Say) -> None:
        self._profiles, self._measure, self._say = profiles, measure, say
        self._unproven: Collection[str] | None = None
        self._refused: Collection[str] | None = None
        say(f"certifying {len(profiles)} NATs")
        rounds = 1 + len(profiles) // JOBS
        self._beside = Beside(self._measured_beside, DEADLINE * rounds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *words: object) -> None:
        self._beside.__exit__(*words)

    def unproven(self, *, wait: bool = False) -> Collection[str] | None:
        """The names of those that did not pass beside others; None until that is known.

        UnfitError if this machine lacks what it takes to measure any.
        """
        if self._unproven is None:
            output = self._beside.output(wait=wait)
            if output is None:
                return None
            passed = _passed(output)
            self._unproven = [name for name in self._profiles if name not in passed]
        return self._unproven

    def refused(self) -> Collection[str]:
        """The names of those that are not what they declare, to be asked when nothing else runs."""
        if self._refused is None:
            self._refused = self._measured_again(self.unproven(wait=True) or ())
            count = len(self._profiles)
            self._say(f"{count - len(self._refused)} of {count} NATs certified")
            for name in self._refused:
                plain = name.partition(".")[0]
                self._say(f"{name} is not what it declares: see `testbed nat certify {plain}`")
        return self._refused

    def _measured_beside(self) -> bytes:
        """The names of those that pass."""
        try:
            found = self._measure(list(self._profiles.values()))
        except UnfitError as error:
            unfit = {"message": error.message, "node": error.node, "remedy": error.remedy}
            return json.dumps({"unfit": unfit}).encode()
        return json.dumps({"passed": [name for name in found if _sound(found[name])]}).encode()

    def _measured_again(self, names: Collection[str]) -> Collection[str]:
        found = self._measure([self._profiles[name] for name in names]) if names else {}
        return [name for name in names if not _sound(found[name])]


def _sound(certificate: Certificate) -> bool:
    return certificate.verdict is Verdict.PASS


def _passed(output: bytes) -> Collection[str]:
    """What the fork has found; nobody passed where it crashed or was too slow."""
    try:
        told: dict[str, Any] = json.loads(output)
    except ValueError:
        return ()
    if "unfit" in told:
        raise UnfitError(**told["unfit"])
    passed: list[str] = told["passed"]
    return passed
