"""Verdicts of AutoNAT that are not the truth, or are none, and what in the protocol errs."""

from typing import Literal

from testbed.model.statement import Statement

Version = Literal["v1", "v2"]


class NoneAsked(Statement):
    """No packet reaches a server."""


class ServerOpened(Statement):
    """The contact with the server had opened the filter for its dial, and for nobody else's."""

    versions: tuple[Version, ...]


class ServersKeptOut(Statement):
    """The servers do not get in where a stranger does."""

    version: Version


class TooFewAgree(Statement):
    """Too few servers agree."""

    version: Version


class NotAsked(Statement):
    """Nobody asks about some of the addresses, since each server sees another one."""

    unasked: int
    addresses: int
    asked: int


class NonceReset(Statement):
    """The server does not get the answer to its nonce."""
