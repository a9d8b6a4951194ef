"""A daemon that ends by itself leaves the machine's files as they were."""

import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.lab.services.miniupnpd import NO_FILE, PROGRAM
from testbed.model.presets import home_and_public
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

SERVED = "upnp2-home"


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is NOT installed")
def test_a_daemon_that_is_asked_to_end_takes_nothing_with_it() -> None:
    with Namespaces().start(plan(home_and_public(SERVED), catalogue())) as lab:
        process = lab.services["nat-a"]._process
        assert process is not None
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(5.0) == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    assert not Path(NO_FILE).exists()
