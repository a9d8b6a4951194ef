"""The whole suite runs inside one sandbox; xdist's workers inherit it."""

import pytest

from testbed.backends import sandbox
from testbed.errors import UnfitError

try:
    sandbox.enter()
except UnfitError as error:
    # Loud on purpose: a suite that silently left out the lab would prove nothing.
    raise pytest.UsageError(str(error)) from error
