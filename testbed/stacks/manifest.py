"""A stack's manifest, ``images/NAME/stack.toml``: how it is started, and what it can do."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.model.autonat_agent import AutonatAgent
from testbed.model.ice_agent import IceAgent
from testbed.stacks.adapter import Feature, Need, Role


class _Read(BaseModel):
    """A part of a file: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Read):
    """One stack of the folder, as ``--peer`` names it: of one transport, in one release."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    mechanism: str = Field(description="a name of testbed.studies.punch.mechanisms")
    transport: Literal["udp", "tcp"] = Field(description="of the connection between the peers")
    module: str | None = Field(None, description="its main, where it is Python of this package")
    program: str | None = Field(None, description="of peer.mk; the folder's name if absent")
    roles: frozenset[Role] | None = Field(None, description="instead of the folder's")
    features: frozenset[Feature] = Field(frozenset(), description="of the contract that it has")
    older: bool = Field(False, description="a release that is there to show regressions")


class Manifest(_Read):
    """What one folder builds, and the stacks that are made of it."""

    title: str = Field(min_length=1)
    toolchain: str = Field("", description="what building the programs takes, in words")
    needs: frozenset[Need] = Field(frozenset(), description="what the lab must have for it")
    roles: frozenset[Role] = Field(frozenset(), description="that it plays beside being an end")
    agent: IceAgent | None = Field(None, description="of ICE: what it leaves to implementations")
    autonat: AutonatAgent | None = Field(
        None, description="of AutoNAT in the current release: what implementations do differently"
    )
    stack: tuple[Entry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _says_how_it_starts(self) -> Self:
        for entry in self.stack:
            if entry.module and entry.program:
                raise ValueError(f"{entry.name} has a module and a program; it starts as one")
            if not entry.module and not self.toolchain:
                raise ValueError(f"{entry.name} is a program: toolchain must say what it takes")
        return self
