"""The fuzz targets without libFuzzer: seeded mutations of real inputs, the same on every run."""

import pytest

from testbed.traversal.errors import ProtocolError

from .fuzz import messages, pipes, portmap, registry, rent, wire

INPUTS = 2500


@pytest.mark.parametrize("name", registry.TARGETS)
def test_any_bytes_give_a_value_that_reads_back_or_a_typed_error(name: str) -> None:
    target = registry.TARGETS[name]
    accepted = sum(target.run(data) for data in registry.mutations(target.seeds, INPUTS, 1))
    assert accepted, "not even the seeds got through: the target checks nothing"


def test_a_parser_that_leaks_another_error_or_grows_is_caught() -> None:
    """The negative control."""

    def leaky(data: bytes) -> None:
        if data == b"ab":
            raise KeyError(data)
        raise ProtocolError("x", "refused")

    target = registry.Target("leaky", leaky, (b"ab",))
    assert target.run(b"other") is False
    with pytest.raises(KeyError):
        target.run(b"ab")


def test_every_parser_module_has_a_target() -> None:
    assert {t.check.__module__ for t in registry.TARGETS.values()} == {
        wire.__name__, messages.__name__, pipes.__name__, portmap.__name__,
        rent.__name__,
    }  # fmt: skip
    assert len(registry.TARGETS) == 27
