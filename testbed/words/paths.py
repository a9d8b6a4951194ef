"""Sentences about the way that the capture shows."""

from typing import assert_never

from testbed.model.path import (
    BytesMissing,
    NothingEchoed,
    PassedThrough,
    PathSeen,
    Unfollowed,
    WentDirect,
)


def sentence(path: PathSeen) -> str:
    """Which way the bytes went."""
    match path:
        case NothingEchoed():
            return "nothing was echoed: not both peers claimed a connection"
        case BytesMissing(traffic, source, target, back):
            missing = "the way back" if back else f"{source} to {target}"
            return f"the {traffic}'s bytes are missing on {missing}"
        case Unfollowed(traffic, source, target):
            return (
                f"the {traffic}'s bytes left {source} and arrived at {target}, and the capture "
                "does not show their way across the NATs"
            )
        case PassedThrough(traffic, nodes):
            return f"the {traffic} passed through {', '.join(nodes)}"
        case WentDirect(traffic, dialer, listener):
            return f"the {traffic}'s payloads left {dialer}, arrived at {listener}, and back"
    assert_never(path)
