"""A proposal behind which the user writes before the remote has answered it.

multistream-select allows that where one protocol is offered (go calls it lazy, js optimistic,
rust V1Lazy).  A remote that refuses has to be told apart from one that resets the stream for its
own reasons: what it says before it has agreed is a refusal.
"""

import asyncio
from collections.abc import Callable

from ..errors import (
    DeadlineError,
    NegotiationError,
    ProtocolError,
    StreamResetError,
    TraversalError,
)
from ..multistream import Dialer

_NAME = "multistream"


class Proposal:
    """One protocol for one stream; `give_up` is called with why the answer does not come."""

    def __init__(
        self, protocol: str, patience: float, give_up: Callable[[Exception], None]
    ) -> None:
        self.protocol = protocol
        self._machine = Dialer([protocol])
        self._answered = asyncio.Event()
        self._untold: Exception | None = None
        loop = asyncio.get_running_loop()
        late = DeadlineError(f"no answer to {protocol} in {patience:g} s")
        self._deadline = loop.call_later(patience, give_up, late)

    @property
    def pending(self) -> bool:
        """Whether the remote has said neither yes nor no."""
        return not self._answered.is_set()

    def data_to_send(self) -> bytes:
        """The proposal."""
        return self._machine.data_to_send()

    def receive_data(self, data: bytes) -> bytes:
        """Feed what the remote says; returns what is behind its answer.

        Raises NegotiationError, ProtocolError.
        """
        self._machine.receive_data(data)
        if not self._machine.done:
            return b""
        self._settle()
        return self._machine.trailing_data

    def refused(self, error: Exception | None) -> Exception:
        """The stream ended before the answer, by this error or without one; what that means."""
        if error is None:
            error = ProtocolError(_NAME, "the remote closed during negotiation")
        elif isinstance(error, StreamResetError):
            # A remote that says `na` takes what is behind the proposal for another one, cannot
            # read it, and resets the stream, which may overtake its `na`.
            error = NegotiationError(_NAME, f"reset before it agreed on {self.protocol}")
        return self.failed(error)

    def failed(self, error: Exception) -> Exception:
        """There will be no answer."""
        if self.pending:
            self._untold = error
            self._settle()
        return error

    def told(self) -> None:
        """The user knows how it ended."""
        self._untold = None

    async def wait(self) -> None:
        """Until there is an answer.  Raises why there is none, unless the user knows."""
        await self._answered.wait()
        if (error := self._untold) is not None:
            self._untold = None
            raise error

    async def wait_quietly(self) -> None:
        """As `wait`; that a connection is gone, or that we reset the stream, is not raised."""
        await self._answered.wait()
        if isinstance(self._untold, TraversalError) and not isinstance(
            self._untold, ConnectionError
        ):
            await self.wait()

    def _settle(self) -> None:
        self._deadline.cancel()
        self._answered.set()
