"""How the steps of a ladder are read whose last rung is a relay that is paid."""

from collections.abc import Sequence
from dataclasses import replace

from testbed.evidence.rent import read_rent
from testbed.model.breach import Breach
from testbed.model.outcome import RungReading
from testbed.studies.punch import upgrades
from testbed.studies.punch.mechanism import Taken
from testbed.verdict.rent import check_rent, paid_rung


def climbed(taken: Taken) -> RungReading:
    """Which rung carried the connection, and what was paid for."""
    reading = upgrades.climbed(taken)
    found = read_rent(taken.wire, taken.ends)
    rented = paid_rung(found, taken.outcome, taken.wire.window)
    paid = found.carried if found is not None else ()
    return replace(reading, measured=rented or reading.measured, paid=paid)


def kept(taken: Taken, rung: RungReading | None) -> Sequence[Breach]:
    """How the stacks took another rung than they should and say, or paid otherwise."""
    return (*upgrades.rung_kept(taken, rung), *_paid(taken))


def relay_kept(taken: Taken, rung: RungReading | None) -> Sequence[Breach]:
    """The same where upgrades are switched off."""
    return (*upgrades.relay_kept(taken, rung), *_paid(taken))


def _paid(taken: Taken) -> Sequence[Breach]:
    found = read_rent(taken.wire, taken.ends)
    return check_rent(found, taken.ends[0]) if found is not None else ()
