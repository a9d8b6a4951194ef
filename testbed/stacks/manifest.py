"""A stack's manifest, ``images/NAME/stack.toml``: how it is started, and what it can do."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from testbed.model.autonat_agent import AutonatAgent
from testbed.model.ice_agent import IceAgent
from testbed.model.lab import Capability
from testbed.stacks.adapter import LEAST_DATAGRAM, Feature, Need, Role
from testbed.stacks.reading import seen_by_all


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
    reads: tuple[Path, ...] = Field(
        (), description="files and folders that its programs see besides their own, absolute"
    )
    capabilities: tuple[Capability, ...] = Field(
        (), description="that its programs are given over their node; none if absent"
    )
    agent: IceAgent | None = Field(None, description="of ICE: what it leaves to implementations")
    autonat: AutonatAgent | None = Field(
        None, description="of AutoNAT in the current release: what implementations do differently"
    )
    datagram: int = Field(
        LEAST_DATAGRAM,
        ge=LEAST_DATAGRAM,
        le=1472,
        description="bytes of UDP payload of each packet by which it opens a QUIC connection",
    )
    whole: bool = Field(
        False,
        description="whether those packets forbid fragments, and are not shortened for a way whose "
        "MTU is told (IP_PMTUDISC_PROBE)",
    )
    elsewhere: bool = Field(
        False,
        description="whether a client of QUIC takes a server's packets from an address that it "
        "did not dial, against RFC 9000 section 9",
    )
    stack: tuple[Entry, ...] = Field(min_length=1)

    @field_validator("reads")
    @classmethod
    def _each_has_an_effect(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in paths:
            if not path.is_absolute():
                raise ValueError(f"{path} is not absolute; the program's own folder is seen anyway")
            if seen_by_all(path):
                raise ValueError(f"{path} has no effect: every program sees it")
        return paths

    @model_validator(mode="after")
    def _says_how_it_starts(self) -> Self:
        for entry in self.stack:
            if entry.module and entry.program:
                raise ValueError(f"{entry.name} has a module and a program; it starts as one")
            if not entry.module and not self.toolchain:
                raise ValueError(f"{entry.name} is a program: toolchain must say what it takes")
        return self
