"""How the steps of libp2p's upgrades and ladders are read, for the mechanisms that have them."""

from collections.abc import Sequence

from testbed.model.breach import Breach
from testbed.model.outcome import Outcome, RungReading
from testbed.studies.punch.mechanism import Taken
from testbed.verdict.rung import check_rung, read_rung, rung_reading
from testbed.verdict.upgrade import check_relayed, check_upgrade


def upgraded(taken: Taken, _rung: RungReading | None) -> Sequence[Breach]:
    """How an upgrade that succeeded broke DCUtR."""
    if taken.outcome is not Outcome.DIRECT:
        return ()
    return check_upgrade(taken.wire, *taken.ends)


def relay_kept(taken: Taken, _rung: RungReading | None) -> Sequence[Breach]:
    """What went from peer to peer although upgrades are switched off."""
    return check_relayed(taken.wire, *taken.ends)


def climbed(taken: Taken) -> RungReading:
    """Which rung carried the connection."""
    wire = taken.wire
    measured = read_rung(wire, taken.ends, taken.outcome)
    began = None
    if wire.start_ns is not None and wire.clock_ns is not None:
        began = wire.start_ns - wire.clock_ns
    return rung_reading(wire.events or (), taken.ends, (taken.predicted, measured), began)


def rung_kept(taken: Taken, rung: RungReading | None) -> Sequence[Breach]:
    """How the stacks took another rung than they should and say."""
    assert rung is not None  # this mechanism has `climbed`
    if taken.connected is not taken.outcome:
        return ()  # a rung is read off an echo, and this one did not come
    return check_rung(rung, taken.wire.events or (), taken.ends[0])
