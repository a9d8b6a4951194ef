"""One program of another stack, as a process on loopback."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ..nodes import LISTEN
from .build import NotBuiltError, Source, built


class Foreign:
    """The program, one command at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.addresses: list[str] = []

    async def line(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer

    async def answer(self, cmd: str, addr: str, **words: Any) -> dict[str, Any]:
        """What it answers, be it an error."""
        assert self._process.stdin
        self._process.stdin.write(command(cmd, addr, words))
        return await self.line()

    async def ask(self, cmd: str, addr: str, **words: Any) -> dict[str, Any]:
        answer = await self.answer(cmd, addr, **words)
        assert "error" not in answer, f"{cmd}: {answer}"
        return answer


@contextlib.asynccontextmanager
async def foreign(
    binary: Path, transport: str, *flags: str, **environment: str
) -> AsyncIterator[Foreign]:
    """Start the program on loopback; its standard input's end ends it."""
    process = await asyncio.create_subprocess_exec(
        binary, "-listen", LISTEN[transport], *flags, env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    peer = Foreign(process)
    try:
        peer.addresses = (await peer.line())["addrs"]
        yield peer
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()


def command(cmd: str, addr: str, words: dict[str, Any]) -> bytes:
    """A line for its standard input."""
    return (json.dumps({"cmd": cmd, "addr": addr} | words) + "\n").encode()


def built_or_skipped(source: Source) -> Path:
    """The program that another implementation plays its part by; the skip says what is missing."""
    try:
        return built(source)
    except NotBuiltError as error:
        pytest.skip(f"wire NOT checked: {error}")
