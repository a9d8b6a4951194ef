"""What implementations of AutoNAT do differently, as data: the specifications leave it to them.

The manifest of a libp2p stack has the figures of its current release (``images/NAME/stack.toml``),
each of which was read in the stack's own source.
"""

from testbed.model.frozen import FrozenValue


class AutonatAgent(FrozenValue):
    """One implementation; the defaults are those of our own.

    As a client, it needs ``v1_votes`` or ``v2_votes`` servers that agree, and not as many that
    agree on the contrary.  It asks about the addresses that the most servers have observed,
    ``asked`` of them at most, and only those that ``agreed`` servers observe.  With ``own_port``
    it puts the port that it listens on to what was observed.  It ``resets`` the stream of version
    2 as soon as it has answered a nonce, by which QUIC drops the answer.

    As a server, it ``adds`` what it observes itself to the addresses that version 1 asks it about;
    without that it refuses who asks about nothing public.  It ``awaits`` the answer to its nonce,
    and else says that the dial-back failed, of which a client makes no verdict.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012, pydantic reads it

    v1_votes: int = 4
    v2_votes: int = 3
    asked: int = 3
    agreed: int = 1
    own_port: bool = False
    resets: bool = False
    adds: bool = True
    awaits: bool = False


UNREAD_AUTONAT = AutonatAgent()  # who says nothing is taken for one like ours
