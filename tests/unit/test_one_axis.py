"""An axis is four files: the field, its rules, its measurement, its effect in the model."""

import shutil
import subprocess
import sys
from pathlib import Path

from testbed.places import PACKAGE, shared

MEASURES = '''
"""Does the NAT let nothing out?"""

from testbed.certify.measured import Finding
from testbed.model.statement.probing import PortsTried


def measure(subjects):
    return Finding(not any(subject.ports for subject in subjects), PortsTried((443,), ()))
'''
PROFILE = """
title = "a toy"
met = "nowhere"
source = "none: it is a toy"
engine = "nftables"
mute = true
"""
USE = """
from dataclasses import replace
from ipaddress import IPv4Address
from types import SimpleNamespace
from testbed.certify.claims import claims
from testbed.certify.prober.more import measured
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.plan import LoadRules
from testbed.model.presets import two_homes
from testbed.nat.load import find
from testbed.plan.planner import plan
from testbed.predict.nat import TransportNat

mute = find("./mute.toml")
texts = ["mute" in text for name in ("./mute.toml", "full-cone")
    for text in [str(plan(two_homes(name, name), {name: find(name)}).of(LoadRules))]]
claim = claims(mute.behaviour, mappings=1)["mute"]
subject = SimpleNamespace(ports=(), open_host=None, mapping=SimpleNamespace(value=None))
found = measured([subject])["mute"]
nats = [TransportNat("n", Protocol.UDP, one, ["29.0.0.1"]) for one in (mute.behaviour, Behaviour())]
print(texts, claim.declared, claim.holds(True), claim.holds(False), found.value)
print([nat.axes.blocked for nat in nats])
"""


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_an_axis_is_added_in_four_files(tmp_path: Path) -> None:
    tree, rules = tmp_path / "testbed", tmp_path / "nat-profiles"
    shutil.copytree(PACKAGE, tree, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    shutil.copytree(shared("nat-profiles"), rules)
    (tmp_path / "images").symlink_to(shared("images"))
    changed(
        tree / "model/behaviour.py",
        "    exposed: Exposed = claimed(Exposed.NONE)\n",
        "    exposed: Exposed = claimed(Exposed.NONE)\n    mute: bool = claimed(False)\n",
    )
    changed(
        rules / "rules/nftables.j2",
        "    chain dstnat {\n",
        "{% if behaviour.mute %}\n    chain mute { type filter hook forward priority 0; drop; }\n"
        "{% endif %}\n    chain dstnat {\n",
    )
    (tree / "certify/prober/more/mute.py").write_text(MEASURES, encoding="utf-8")
    changed(
        tree / "predict/nat.py",
        "        self.axes = behaviour.transport(protocol)\n",
        "        from dataclasses import replace\n"
        "        axes = behaviour.transport(protocol)\n"
        "        self.axes = replace(axes, blocked=axes.blocked or behaviour.mute)\n",
    )
    (tmp_path / "mute.toml").write_text(PROFILE, encoding="utf-8")
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{USE}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.stdout == ("[True, False] yes True False True\n[True, False]\n"), done.stderr
