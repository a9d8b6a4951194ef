"""The table ``[life]`` of a world's file."""

from typing import Annotated

from pydantic import Field

from testbed.model.events.base import Moment, Span
from testbed.model.life import Timers
from testbed.model.table import Table


class LifeTable(Table):
    """What `testbed life` tells the stacks of timers, and what it changes in the NATs."""

    keepalive_s: Moment = Field(
        default=0.5, description="The stacks' keepalive in a silence; 0: none is sent."
    )
    patience_s: Span = Field(
        default=2.0, description="Seconds without a word after which a stack gives up."
    )
    nat_timers_s: Annotated[int, Field(ge=1, le=600)] | None = Field(
        default=None, description="Every timer of all NATs, in place of their profiles'."
    )
    random_ports: tuple[str, ...] = Field(
        default=(), description="Routers that choose ports at random, whatever their profile says."
    )

    @property
    def timers(self) -> Timers:
        """The stacks'."""
        return Timers(self.keepalive_s or None, self.patience_s)
