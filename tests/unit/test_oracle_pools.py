"""What a pool of external addresses makes of a cell (RFC 4787 section 4.1)."""

import pytest

from testbed.model.outcome import Outcome
from testbed.model.presets import preset
from testbed.nat.load import find
from testbed.predict.ice import ICE
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.predict.punching import PUNCH_UDP


def behind(pool: str, home: str, mechanism: Model) -> Outcome:
    profiles = {"cgn": pool, "nat-a": "linux-home", "nat-b": home}
    nats = {router: find(name).behaviour for router, name in profiles.items()}
    return predict(preset("pooled-carrier", "linux-home", home), nats, mechanism, "a", "b").outcome


@pytest.mark.parametrize(
    ("pool", "home", "punched"),
    [
        ("symmetric", "restricted-cone", True),
        # The peer's filter lets in the address that the STUN server saw, and another one calls.
        ("arbitrary-pool", "restricted-cone", False),
        ("arbitrary-pool", "full-cone", True),
        ("paired-pool", "restricted-cone", True),
        ("paired-pool", "port-restricted", True),
    ],
)
def test_a_filter_by_address_knows_one_address_of_an_arbitrary_pool(
    pool: str, home: str, punched: bool
) -> None:
    assert (behind(pool, home, PUNCH_UDP) is Outcome.DIRECT) is punched
    assert (behind(pool, home, ICE) is Outcome.DIRECT) is punched
