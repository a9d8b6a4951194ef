"""What must be there before cells are run: stacks that are known, built, and in the cells."""

from collections.abc import Iterable, Mapping, Sequence

from testbed.errors import UnfitError, UsageError
from testbed.lab.choice import Kind
from testbed.model.lab import Image
from testbed.model.profile import Profile
from testbed.nat.load import by_name
from testbed.stacks.registry import BETWEEN, Adapter, adapter
from testbed.studies.punch.cell import Cell


def require_cast(own: Sequence[str], cells: Sequence[Cell], option: str) -> None:
    """UsageError for a stack that was described and is in none of ``cells``."""
    others = (name for cell in cells for name in (cell.relay, *dict(cell.observers).values()))
    cast = {*others, *(name for cell in cells for name in ends_of(cell))}
    for name in own:
        if name not in cast:
            raise UsageError(
                f"--stack {name}=... has no effect: it is in no cell", remedy=f"{option} {name}"
            )


def require_ready(cells: Sequence[Cell], kind: Kind) -> None:
    """Whatever the cells need is there, as `require_built` has it."""
    cast = {(cell.peer, cell.relay, cell.observers): cell for cell in cells}.values()
    ends = [one for cell in cast for one in (*cell.stacks.both, *cell.observing.values())]
    require_built([*ends, *(cell.relaying for cell in cast if cell.relaying)], kind)


def require_built(cast: Iterable[Adapter], kind: Kind) -> None:
    """UnfitError naming each stack that is not built.

    UsageError for an image where no node is a container.
    """
    unbuilt: dict[str, UnfitError] = {}
    for one in cast:
        if isinstance(one.entry, Image) and kind is Kind.NAMESPACES:
            raise UsageError(
                f"{one.name} is an image, and labs of namespaces have no containers",
                remedy=f"--backend {Kind.DOCKER.value}",
            )
        try:
            one.command()
        except UnfitError as error:
            unbuilt.setdefault(error.message, error)
    if unbuilt:
        raise UnfitError("; ".join(unbuilt), remedy=next(iter(unbuilt.values())).remedy)


def require_known(peer: str) -> None:
    """UsageError for a stack that is none of ours, and was not described."""
    for name in peer.split(BETWEEN):
        try:
            adapter(name)
        except UsageError as error:
            described = f"--stack {name}=./program --mechanism punch_udp"
            raise UsageError(
                error.message,
                remedy=f"{error.remedy}\n  a stack of your own is described: {described}",
            ) from None


def ends_of(cell: Cell) -> tuple[str, ...]:
    return tuple(one.name for one in cell.stacks.both)


def with_inner(cells: Sequence[Cell], given: Mapping[str, Profile]) -> dict[str, Profile]:
    """Those of all NATs in ``cells``; a carrier's is named by its topology alone."""
    needed = {router.profile for cell in cells for router in cell.build().routers}
    return by_name(given.values(), sorted(needed))
