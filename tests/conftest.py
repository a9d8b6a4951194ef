"""The whole suite runs inside one sandbox; xdist's workers inherit it."""

import hypothesis

from testbed.pytest_plugin import within_sandbox

collect_ignore = ["example"]  # a project of a user's, with a configuration of its own

# How long an example takes is the machine's business, and no claim about the code.
hypothesis.settings.register_profile("testbed", deadline=None)
hypothesis.settings.load_profile("testbed")

within_sandbox()
