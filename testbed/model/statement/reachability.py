"""Verdicts of AutoNAT that are not the truth, or are none, and what in the protocol errs."""

from dataclasses import dataclass
from typing import Literal

from testbed.model.statement import Statement

Version = Literal["v1", "v2"]


@dataclass(frozen=True)
class NoneAsked(Statement):
    """No packet reaches a server."""


@dataclass(frozen=True)
class ServerOpened(Statement):
    """The contact with the server had opened the filter for its dial, and for nobody else's."""

    versions: tuple[Version, ...]


@dataclass(frozen=True)
class ServersKeptOut(Statement):
    """The servers do not get in where a stranger does."""

    version: Version


@dataclass(frozen=True)
class TooFewAgree(Statement):
    """Too few servers agree."""

    version: Version


@dataclass(frozen=True)
class NotAsked(Statement):
    """Nobody asks about some of the addresses, since each server sees another one."""

    unasked: int
    addresses: int
    asked: int


@dataclass(frozen=True)
class NonceReset(Statement):
    """The server does not get the answer to its nonce."""
