"""Sentences about the way that the capture shows."""

from typing import assert_never

from testbed.model import path as it
from testbed.model.outcome import Outcome


def sentence(path: it.PathSeen) -> str:
    """Which way the bytes went."""
    match path:
        case it.NothingEchoed():
            return "nothing was echoed: not both peers claimed a connection"
        case it.BytesMissing(traffic, source, target, back):
            missing = "the way back" if back else f"{source} to {target}"
            return f"the {traffic}'s bytes are missing on {missing}"
        case it.Unfollowed(traffic, source, target):
            return (
                f"the {traffic}'s bytes left {source} and arrived at {target}, and the capture "
                "does not show their way across the NATs"
            )
        case it.Swallowed(traffic, source, target, by, largest):
            how = "direct" if by is Outcome.DIRECT else "by the relay"
            return (
                f"the {traffic}'s bytes left {source} for {target}, {how}, in packets that are "
                f"too long for a link, which loses what is longer than {largest} bytes"
            )
        case it.PassedThrough(traffic, nodes):
            return f"the {traffic} passed through {', '.join(nodes)}"
        case it.WentDirect(traffic, dialer, listener):
            return f"the {traffic}'s payloads left {dialer}, arrived at {listener}, and back"
    assert_never(path)
