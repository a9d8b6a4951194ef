"""Pairs of NATs, the stacks that are sent through them, and what the wire says of it."""

from dataclasses import field
from pathlib import Path
from typing import Protocol

from testbed.errors import TestbedError
from testbed.model.frozen import FrozenValue
from testbed.model.result import Result
from testbed.model.verdict import Judgement


class InconclusiveError(TestbedError):
    """The harness was at fault: nothing is known, so the test has no result."""

    phase = "verdict"


class NatPair(FrozenValue):
    """The dialer's NAT and the listener's, in a topology; None is the stack's own."""

    dialer: str
    listener: str
    topology: str | None
    files: tuple[tuple[str, str], ...] = field(repr=False)  # of every NAT there: profile, file


class Verdict(FrozenValue):
    """How a cell ended, read off its packets: what the peers said is only compared with that.

    ``outcome`` is ``direct``, ``relayed`` or ``none``.  ``passed``: so it was predicted from
    the NATs, and no peer said otherwise.  ``findings`` are what a peer said and did not do.
    """

    outcome: str
    predicted: str
    passed: bool
    reason: str
    findings: tuple[str, ...]
    cause: str | None  # `testbed.model.explanation.Cause`
    headline: str  # the cause in a sentence
    folder: Path  # of the capture and all else that was recorded

    @property
    def direct(self) -> bool:
        return self.outcome == "direct"

    @property
    def relayed(self) -> bool:
        return self.outcome == "relayed"

    @property
    def connected(self) -> bool:
        return self.direct or self.relayed

    def __repr__(self) -> str:
        """Short: it stands in a failed assertion, and the explanation below that."""
        lies = f", {len(self.findings)} finding(s)" if self.findings else ""
        return f"<{self.outcome}: {self.cause}, predicted {self.predicted}{lies}>"

    @classmethod
    def of(cls, result: Result) -> "Verdict":
        """From the result of a cell; InconclusiveError if it has no verdict."""
        __tracebackhide__ = True
        why = result.explanation
        if result.measured is None or result.predicted is None or not result.conclusive:
            raise InconclusiveError(
                f"{result.group}: {result.reason}", remedy=f"run it again; see {result.folder}"
            )
        return cls(
            outcome=result.measured,
            predicted=result.predicted,
            passed=result.judgement is Judgement.PASS,
            reason=result.reason,
            findings=result.findings,
            cause=why.cause.value if why else None,
            headline=why.headline if why else result.reason,
            folder=Path(result.folder),
        )


class Connects(Protocol):
    """What runs a cell for a `Peer`."""

    def connect(self, dialer: "Peer", listener: "Peer", nats: NatPair, seed: int) -> Verdict:
        """The verdict of one cell."""


class Peer(FrozenValue):
    """A stack that can be sent through NATs."""

    name: str
    bench: Connects = field(repr=False)

    def connect(self, nats: NatPair, *, to: "Peer | None" = None, seed: int = 0) -> Verdict:
        """Dial ``to``, or another of its own, from behind the first NAT to behind the second.

        InconclusiveError where the harness failed, for instance on a machine that was too
        busy three times; UsageError if the two do not understand each other.
        """
        __tracebackhide__ = True
        return self.bench.connect(self, to or self, nats, seed)
