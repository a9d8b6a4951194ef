"""The programs of other stacks: built once for a state of their sources, kept in the user's cache.

`python -m tests.traversal.interop.build` builds them before the suite: beside labs a compiler
disturbs clocks, and each worker would wait for it.  What cannot be built is said, and the tests
that need it say so, too.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


class NotBuiltError(Exception):
    """This machine lacks what the build needs: the wire is NOT checked against this stack."""


@dataclass(frozen=True)
class Source:
    """One program: its folder, the files that it is made of, and its toolchain."""

    name: str
    tool: str
    patterns: tuple[str, ...]
    fetch: tuple[str, ...]  # the command that gets what it depends on, with a network
    present: tuple[str, ...]  # the command that succeeds if all of that is here
    build: tuple[str, ...]
    product: str  # below the target folder; a folder of its own holds a program of the same name

    @property
    def folder(self) -> Path:
        return HERE / self.name

    def digest(self) -> str:
        files = [one for pattern in self.patterns for one in sorted(self.folder.glob(pattern))]
        return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


GO = Source(
    "go",
    "go",
    ("*.go", "go.mod", "go.sum"),
    ("go", "mod", "download"),
    ("go", "list", "-deps", "."),
    ("go", "build", "-p", "2", "-o", "{target}/peer", "."),
    "peer",
)
RUST = Source(
    "rust",
    "cargo",
    ("Cargo.toml", "Cargo.lock", "src/*.rs"),
    ("cargo", "fetch", "--locked", "--target", "host-tuple"),
    ("cargo", "fetch", "--locked", "--target", "host-tuple", "--offline"),
    ("cargo", "build", "-j", "2", "--locked", "--offline", "--target-dir", "{target}"),
    "debug/peer",
)


# What `present` installs is what `fetch` has left in npm's cache.
_NPM = "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error"
JS = Source(
    "js",
    "npm",
    ("*.mjs", "peer", "package.json", "package-lock.json"),
    ("npm", "ci", "--ignore-scripts"),
    ("sh", "-c", "mkdir -p {target}/peer && cp *.mjs peer package*.json {target}/peer && "
     f"cd {{target}}/peer && {_NPM} --offline"),
    ("true",),
    "peer",
)  # fmt: skip
SOURCES = (GO, RUST, JS)


def built(source: Source) -> Path:
    """The program of ``source``, built where these sources were not built before."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(home) / "testbed" / "interop"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotBuiltError(f"no place to build in ({error})") from error
    product = cache / f"{source.name}-{source.digest()}"
    with _locked(cache / f"{source.name}.lock"):
        if not product.exists():
            _build(source, cache / f"{source.name}-target", product)
    return product / source.product if product.is_dir() else product


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time, other workers and other runs included."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(source: Source, target: Path, program: Path) -> None:
    if shutil.which(source.tool) is None:
        raise NotBuiltError(f"{source.tool} is not installed")
    # The sandbox has no way out: what is not here now will not come.
    if _run(source, source.present, target).returncode:
        words = " ".join(source.fetch)
        raise NotBuiltError(f"what it depends on is missing; cd {source.folder} && {words}")
    done = _run(source, source.build, target)
    assert done.returncode == 0, done.stderr
    # Under its name only when whole: another run may start it at once.
    product, half = target / source.product, program.with_suffix(".new")
    if product.is_dir():
        product.rename(half)
    else:
        shutil.copy2(product, half)
    half.rename(program)
    shutil.rmtree(target)  # hundreds of megabytes


def _run(source: Source, words: Sequence[str], target: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GOPROXY": "off"}
    command = ["nice", "-n", "19", *(word.format(target=target) for word in words)]
    return subprocess.run(
        command, cwd=source.folder, env=environment, capture_output=True, text=True
    )


def main() -> int:
    for source in SOURCES:
        try:
            built(source)
        except NotBuiltError as error:
            print(f"the wire to {source.name}-libp2p stays unchecked: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
