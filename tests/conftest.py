"""The whole suite runs inside one sandbox; xdist's workers inherit it."""

import hypothesis
import pytest

from testbed.backends import sandbox
from testbed.errors import UnfitError

# How long an example takes is the machine's business, and no claim about the code.
hypothesis.settings.register_profile("testbed", deadline=None)
hypothesis.settings.load_profile("testbed")

try:
    sandbox.enter()
except UnfitError as error:
    # Loud on purpose: a suite that silently left out the lab would prove nothing.
    raise pytest.UsageError(str(error)) from error
