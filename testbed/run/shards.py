"""A matrix in parts that run on machines of their own, and the whole put together again.

Pairs are sorted by a hash of their names and cut into parts of equal length.  All repetitions of
a pair are in one part, the parts differ by one pair at the most, and a pair that is added to
a matrix of N parts moves at most N - 1 others.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.errors import Exit, TestbedError, UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.result import MOST_SHARDS, Document, Identity, Result, ShardPart
from testbed.naming import instead
from testbed.studies.base import C, Case

if TYPE_CHECKING:  # who only puts results together need not load what makes them
    from testbed.model.profile import Profile

_WORDS = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


class MissingShardError(TestbedError):
    """A run of which parts are not there has measured nothing in their cells."""

    phase = "merge"
    exit_code = Exit.INCONCLUSIVE


@dataclass(frozen=True, order=True)
class Shard:
    """Part ``number``, from 1, ``of`` so many."""

    number: int
    of: int

    @classmethod
    def parse(cls, words: str) -> "Shard":
        """``3/8``; UsageError if it is not."""
        if found := _WORDS.fullmatch(words):
            number, of = int(found[1]), int(found[2])
            if 1 <= number <= of <= MOST_SHARDS:
                return cls(number, of)
        raise UsageError(
            f"--shard must be I/N with I from 1 to N, N at most {MOST_SHARDS}, not {words!r}",
            remedy="--shard 3/8",
        )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def places(self, pairs: Sequence[str]) -> list[int]:
        """Where in ``pairs``, one for each cell of the whole run, are this part's; rising.

        UsageError if there are fewer pairs than parts.
        """
        ranked = sorted(set(pairs), key=digest)
        if len(ranked) < self.of:
            raise UsageError(
                f"{len(ranked)} pairs cannot be cut into {self.of} shards",
                remedy=f"--shard I/{len(ranked)} at the most",
            )
        begin, end = (len(ranked) * number // self.of for number in (self.number - 1, self.number))
        mine = set(ranked[begin:end])
        return [place for place, pair in enumerate(pairs) if pair in mine]

    def of_run(self, cases: Sequence[C]) -> tuple[list[C], ShardPart]:
        """This part of ``cases``, and what its ``results.json`` says for `merge`."""
        places = self.places([case.group for case in cases])
        part = ShardPart(number=self.number, of=self.of, places=tuple(places))
        return [cases[place] for place in places], part


class Part(FrozenValue):
    """What one shard has left.  ``run`` says of which run it is: `identity`."""

    path: str
    document: Document
    part: ShardPart
    run: Identity

    @property
    def shard(self) -> Shard:
        return Shard(self.part.number, self.part.of)

    @property
    def facts(self) -> Mapping[str, str]:
        return self.document.facts


def digest(*texts: str) -> str:
    """SHA-256 of ``texts`` as hexadecimal digits; their borders count."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def identity(
    cases: Iterable[Case],
    profiles: Mapping[str, "Profile"],
    *,
    seed: int | None,
    backend: str,
    certified: bool,
) -> Identity:
    """What all shards of one run have in common, besides the versions; all of it is compared."""
    claims = sorted(f"{name}\n{_claim(profile)}" for name, profile in profiles.items())
    return Identity(
        seed=seed,
        backend=backend,
        certified=certified,
        profiles=digest(*claims),
        selection=digest(*(case.name for case in cases)),
    )


def _claim(profile: "Profile") -> str:
    """The file, wherever it is on this machine."""
    return profile.text or repr(profile)


def merge(
    parts: Sequence[Part], differing: Collection[str] = ()
) -> tuple[list[Result], dict[str, str]]:
    """The results of the whole run, in its order, and its facts.  ``parts``: one or more.

    A fact that is in ``differing`` may be another on other machines, and is then all that it was.
    UsageError naming the part that is there twice, of another run or made by other versions;
    MissingShardError naming those that are not there.
    """
    parts = sorted(parts, key=lambda part: part.shard.number)
    first = parts[0]
    for name in differing:
        if name not in first.facts:
            remedy = instead(name, first.facts)
            raise UsageError(f"--differing {name!r} is no fact of these shards", remedy=remedy)
    for part in parts[1:]:
        _require_same_run(first, part, differing)
    seen: dict[int, Part] = {}
    for part in parts:
        if other := seen.get(part.shard.number):
            raise UsageError(f"shard {part.shard} is there twice: {other.path} and {part.path}")
        seen[part.shard.number] = part
    if missing := [n for n in range(1, first.shard.of + 1) if n not in seen]:
        raise MissingShardError(
            f"of {first.shard.of} shards {', '.join(map(str, missing))} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            remedy=f"testbed matrix --shard {missing[0]}/{first.shard.of} with the same words",
        )
    return _in_order(parts), {name: _told(parts, name) for name in first.facts}


def _require_same_run(first: Part, part: Part, differing: Collection[str]) -> None:
    where = f"{part.path}, shard {part.shard}, is not of the same run as {first.path}"
    if part.shard.of != first.shard.of:
        raise UsageError(f"{where}: that one has {first.shard.of} shards")
    if words := differs(part.run, first.run):
        raise UsageError(f"{where}: {words}")
    if first.facts.keys() != part.facts.keys():
        odd = sorted(first.facts.keys() ^ part.facts.keys())[0]
        raise UsageError(f"{where}: only one of them tells the version of {odd}")
    for name, there in first.facts.items():
        if part.facts[name] != there and name not in differing:
            raise UsageError(
                f"{where}: {name} is {part.facts[name]!r}, not {there!r}",
                remedy=f"run it again there, or allow it: --differing {name}",
            )


def differs(here: Identity, there: Identity) -> str | None:
    """Which setting of two runs is another one, in words; None if they are the same run."""
    for name in sorted(Identity.model_fields):
        one, other = getattr(here, name), getattr(there, name)
        if one != other:
            short = max(len(str(one)), len(str(other))) < 40
            return f"another {name}" + (f": {one}, not {other}" if short else "")
    return None


def _in_order(parts: Sequence[Part]) -> list[Result]:
    """UsageError naming the part whose results are not those of the cases that it had to run."""
    found: dict[int, Result] = {}
    for part in parts:
        results, places = part.document.results, part.part.places
        if len(places) != len(results) or not found.keys().isdisjoint(places):
            raise UsageError(f"{part.path}: shard {part.shard} is damaged: cells do not add up")
        found.update(zip(places, results, strict=True))
    whole = [found[place] for place in sorted(found)]
    if digest(*(one.name for one in whole)) != parts[0].run.selection:
        names = ", ".join(part.path for part in parts)
        raise UsageError(f"the cells of {names} are not those of the run that was asked for")
    return whole


def _told(parts: Sequence[Part], name: str) -> str:
    return " | ".join(dict.fromkeys(part.facts[name] for part in parts))
