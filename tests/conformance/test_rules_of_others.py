"""Rules that somebody brings become a profile that loads, is certified, and is true of them."""

import subprocess
import tomllib
from pathlib import Path

import forked_command
import pytest

from testbed.certify.certificates import Verdict, certify
from testbed.nat.load import load

RULES = Path(__file__).parent / "rules"
APDM = "address_and_port_dependent"
EIM = "endpoint_independent"
# file -> what its profile says of UDP (of TCP where UDP is blocked), and the nearest profile
SETS: dict[str, tuple[dict[str, object], str | None]] = {
    "masquerade.nft": ({"mapping": EIM, "filtering": APDM, "overloading": True}, "linux-home"),
    "open-input.nft": ({"mapping": EIM, "unsolicited": "icmp"}, "naive-linux"),
    "rejecting.rules": ({"mapping": EIM, "unsolicited": "icmp"}, "openwrt"),
    "random-fully.rules": ({"mapping": APDM, "allocation": "random"}, "apdm-apdf"),
    "restricted.nft": ({"mapping": EIM, "filtering": "address_dependent"}, None),
    "tcp-only.nft": ({"mapping": APDM, "allocation": "random"}, None),
    "full-cone.nft": ({"mapping": EIM}, None),
}


def probe(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return forked_command.said("nat", "probe", *map(str, words), apart=False)


@pytest.mark.parametrize("name", SETS)
def test_a_profile_from_rules_loads_and_is_certified(name: str, tmp_path: Path) -> None:
    wanted, near = SETS[name]
    out = tmp_path / f"my-{Path(name).stem}.toml"
    done = probe("--rules", RULES / name, "--toml", "-o", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    said = tables.get("both", {}) | tables.get("udp", {})
    said = tables["tcp"] if said.get("blocked") else said
    assert {key: said.get(key) for key in wanted} == wanted
    assert near is None or f"The nearest profile is {near}:" in text
    certificate = certify(load(out))
    assert certificate.verdict is Verdict.PASS, certificate


def test_what_a_host_gets_differently_from_another_is_not_claimed(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    probe("--rules", RULES / "wild" / "dmz-tcp.rules", "--toml", "-o", out)
    tables = tomllib.loads(out.read_text(encoding="utf-8"))
    assert "filtering" not in tables.get("both", {}) | tables.get("tcp", {})
    # All TCP from outside goes to one host, and to the other what it asked for.
    assert "#   tcp.filtering: endpoint_independent (one LAN host" in out.read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--toml", "--json"), "--toml has no effect"),
        (("-o", "mine.toml"), "--toml"),
        (("--toml", "-o", "mine.txt"), "NAME.toml"),
        (("--toml", "-o", "symmetric.toml"), "another name"),
    ],
)
def test_words_that_have_no_effect_are_refused_before_anything_is_measured(
    words: tuple[str, ...], said: str
) -> None:
    done = probe(*words)
    assert done.returncode == 2
    assert said in done.stderr
