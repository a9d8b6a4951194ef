"""Events as records of `logging`, under a name for each subject.

`testbed.traversal.connections`, `.dials`, `.addresses`, `.relays`, `.upgrades`, `.peers`,
`.ports` and `.handlers`: a program sets the level of each.  A record has the event itself as
`record.event`.
"""

import logging

from . import events

_ROOT = __name__.rpartition(".")[0]
_STEP, _TURN, _FAULT = logging.DEBUG, logging.INFO, logging.WARNING
_SUBJECTS: dict[type[events.Event], tuple[str, int]] = {
    events.Listening: ("addresses", _TURN),
    events.AddressObserved: ("addresses", _STEP),
    events.MappingInferred: ("addresses", _TURN),
    events.AddressesChanged: ("addresses", _TURN),
    events.ReachabilityChanged: ("addresses", _TURN),
    events.NetworkChanged: ("addresses", _TURN),
    events.ConnectionOpened: ("connections", _TURN),
    events.ConnectionMoved: ("connections", _TURN),
    events.ConnectionClosed: ("connections", _TURN),
    events.Identified: ("connections", _STEP),
    events.DialStarted: ("dials", _STEP),
    events.DialFailed: ("dials", _STEP),
    events.RungReached: ("dials", _TURN),
    events.Reserved: ("relays", _TURN),
    events.ReservationLost: ("relays", _FAULT),
    events.RelayLeft: ("relays", _STEP),
    events.RentSettled: ("relays", _TURN),
    events.RentRefused: ("relays", _STEP),
    events.RelayBroke: ("relays", _FAULT),
    events.PunchStep: ("upgrades", _STEP),
    events.Upgraded: ("upgrades", _TURN),
    events.UpgradeFailed: ("upgrades", _TURN),
    events.PeerLost: ("peers", _TURN),
    events.PeerBack: ("peers", _TURN),
    events.PortMapped: ("ports", _TURN),
    events.PortMapLost: ("ports", _FAULT),
    events.PortMapFailed: ("ports", _TURN),
    events.HandlerFailed: ("handlers", _STEP),  # a stranger may have thousands of them
}
_LOGGERS = {name: logging.getLogger(f"{_ROOT}.{name}") for name, _ in _SUBJECTS.values()}
logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def log(event: events.Event) -> None:
    """Costs next to nothing where nobody listens."""
    name, level = _SUBJECTS[type(event)]
    logger = _LOGGERS[name]
    if logger.isEnabledFor(level):
        said = event.to_dict()
        words = " ".join(f"{key}={value}" for key, value in said.items() if key not in _UNSAID)
        logger.log(level, "%s: %s", said["event"], words, extra={"event": event})


_UNSAID = frozenset({"event", "at"})
