"""The whole suite runs inside one sandbox; xdist's workers inherit it."""

import os

import hypothesis

from testbed.pytest_plugin import within_sandbox

pytest_plugins = ["dealing", "patience"]
collect_ignore = ["example"]  # a project of a user's, with a configuration of its own

# How long an example takes is the machine's business, and no claim about the code.
hypothesis.settings.register_profile("testbed", deadline=None)
hypothesis.settings.load_profile("testbed")

# Profiles of whoever runs this are no part of the claims.
os.environ.pop("TESTBED_PROFILES", None)
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"

within_sandbox()
