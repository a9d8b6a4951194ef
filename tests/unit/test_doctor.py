"""The doctor on machines that lack something, and on this one."""

import io
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from testbed.errors import Exit
from testbed.fitness import doctor, trials
from testbed.fitness.doctor import Machine, checks, exit_code
from testbed.fitness.trials import Check
from testbed.model.plan import Engine
from testbed.nat.load import catalogue

VERSIONS = {"iptables-restore": "iptables-restore v1.8.9 (nf_tables)"}


def good(work: Callable[[], list[Check]]) -> list[Check]:
    del work
    return [Check("tried", True, "works", "", "every lab")]


def machine(**other: Any) -> Machine:
    """A machine that has everything, but for what the keywords say."""
    answers: dict[str, Any] = {
        "system": "Linux",
        "release": "6.1",
        "python": (3, 12, 1),
        "root": False,
        "files": 1 << 20,
        "which": lambda program: f"/usr/bin/{program}",
        "say": lambda command: VERSIONS.get(Path(command[0]).name, "1.2.3"),
        "room": lambda _folder: 10**10,
        "fork": good,
        "containers": list,
    }
    return Machine(**answers | other)


def lacking(*absent: str) -> Machine:
    return machine(which=lambda name: None if name in absent else f"/usr/bin/{name}")


def one(found: Sequence[Check], name: str) -> Check:
    (check,) = [check for check in found if check.name == name]
    return check


def test_a_machine_that_has_everything_is_fit() -> None:
    found = checks(machine())
    assert [check for check in found if not check.ok] == []
    assert exit_code(found) is Exit.AGREED


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("nft", "nftables"),
        ("iptables-restore", "iptables"),
        ("turnserver", "coturn"),
        ("ip", "iproute2"),
    ],
)
def test_a_missing_tool_makes_the_machine_unfit_and_names_the_package(
    program: str, package: str
) -> None:
    found = checks(lacking(program))
    check = one(found, program)
    assert (check.ok, check.remedy) == (False, f"apt-get install {package}")
    assert exit_code(found) is Exit.UNFIT


def test_a_missing_extra_is_said_and_forgiven() -> None:
    found = checks(lacking("tshark", "docker", "miniupnpd"))
    assert one(found, "tshark").ok is None
    upnp = one(found, "miniupnpd")
    assert (upnp.ok, upnp.remedy) == (None, "apt-get install miniupnpd-nftables")
    assert upnp.needed_for == "profiles whose gateway is miniupnpd"
    assert one(found, "docker").ok is None
    assert exit_code(found) is Exit.AGREED


def test_a_tool_is_found_where_ordinary_users_do_not_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Machine().which("nft") is not None
    assert Machine().which("no-such-tool") is None


def test_the_legacy_iptables_is_refused() -> None:
    say = {"iptables-restore": "iptables-restore v1.8.9 (legacy)"}
    found = checks(machine(say=lambda command: say.get(Path(command[0]).name, "1.0")))
    check = one(found, "iptables-restore")
    assert check.ok is False
    assert "iptables-nft" in check.remedy


def test_a_tool_that_hangs_is_a_finding() -> None:
    def say(command: Sequence[str]) -> str:
        raise subprocess.TimeoutExpired(command, 5.0)

    assert one(checks(machine(say=say)), "nft").ok is False


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Python", {"python": (3, 10, 12)}),
        ("open files", {"files": 256}),
        ("disk", {"room": lambda _folder: 10**6}),
        ("disk", {"room": lambda _folder: None}),
    ],
)
def test_too_little_is_unfit_and_has_a_remedy(name: str, other: dict[str, Any]) -> None:
    found = checks(machine(**other))
    assert one(found, name).ok is False
    assert one(found, name).remedy
    assert exit_code(found) is Exit.UNFIT


def test_another_system_is_refused_before_anything_is_tried() -> None:
    def never(_work: object) -> list[Check]:
        raise AssertionError("tried")

    (check,) = checks(machine(system="Darwin", fork=never))
    assert check.ok is False


@pytest.mark.parametrize(("root", "ok", "code"), [(True, None, 0), (False, False, 4)])
def test_forbidden_user_namespaces_matter_only_to_ordinary_users(
    root: bool, ok: bool | None, code: int
) -> None:
    def fork(work: Callable[[], list[Check]]) -> list[Check]:
        refused = Check("user namespaces", False, "refused", "sudo sysctl ...", "")
        return [refused] if work is trials.try_user_namespace else good(work)

    found = checks(machine(root=root, fork=fork))
    assert one(found, "user namespaces").ok is ok
    assert one(found, "user namespaces").remedy == "sudo sysctl ..."
    assert exit_code(found) == code


def test_a_trial_that_crashes_is_unfit_and_shown(capfd: pytest.CaptureFixture[str]) -> None:
    def crash() -> list[Check]:
        raise ZeroDivisionError

    (check,) = trials.in_a_fork(crash)
    assert check.ok is False
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_what_was_tried_is_not_done_to_the_one_who_asks() -> None:
    before = Path("/proc/self/ns/net").readlink()
    found = trials.in_a_fork(trials.try_sandbox)
    assert Path("/proc/self/ns/net").readlink() == before
    assert one(found, "sandbox").ok is True


def test_this_machine_is_fit(tmp_path: Path) -> None:
    unfit = [check for check in checks(Machine(), tmp_path / "out") if check.ok is False]
    assert unfit == []


def test_the_profiles_whose_rules_are_refused_are_named() -> None:
    rules = {
        "good": [(Engine.IPTABLES, "")],
        "broken": [(Engine.NFTABLES, "table ip probe {\nchain c {\nudp sport set yesterday\n}\n}")],
    }
    with pytest.raises(OSError, match=r"of 1 of 1 profiles are refused \(broken\)"):
        trials.load_rules(Engine.NFTABLES, rules)


def test_the_rules_that_are_tried_are_those_of_all_profiles() -> None:
    tried = trials.profile_rules()
    assert list(tried) == list(catalogue())
    assert all(tried.values())
    assert len(tried["upnp-home"]) == 2  # and the daemon's table


def test_a_tool_that_is_absent_is_not_blamed_twice() -> None:
    def absent() -> str:
        return str(subprocess.run(["no-such-nft"], check=False))

    assert trials._attempt("nft rules", absent, "NAT", "").ok is None


def test_the_table_folds_what_is_too_wide_and_cuts_nothing() -> None:
    file = io.StringIO()
    console = Console(width=40, file=file)
    long = Check("nft rules", False, f"refused: [red]{'x' * 50}", "", "NAT")
    console.print(doctor.render([long]))
    assert file.getvalue().count("x") == 50
    assert "[red]" in "".join(file.getvalue().split())
    assert "…" not in file.getvalue()


def test_each_remedy_is_a_line_of_its_own() -> None:
    absent = checks(lacking("nft", "tshark"))
    assert doctor.remedies(absent) == [
        "nft: apt-get install nftables",
        "tshark: apt-get install tshark",
    ]
    assert doctor.remedies(checks(machine())) == []


def test_checks_are_json() -> None:
    assert json.loads(json.dumps([check.to_json() for check in checks(machine())]))


def test_without_an_engine_containers_are_said_to_lack_it_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr("testbed.fitness.containers.require_root", lambda: None)
    found = checks(machine(containers=doctor._containers))
    absent = [check for check in found if not check.ok]
    assert [check.name for check in absent] == ["Docker engine"]
    assert ".ci/engine start" in absent[0].remedy
    assert exit_code(found) is Exit.AGREED


def test_an_ordinary_user_is_told_that_containers_take_root_and_namespaces_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("testbed.lab.containers.engine.os.geteuid", lambda: 1000)
    found = checks(machine(containers=doctor._containers))
    (absent,) = (check for check in found if not check.ok)
    assert (absent.name, absent.needed_for) == ("root", "labs of containers")
    assert "as root (sudo" in absent.remedy
    assert "namespaces need no root" in absent.remedy
    assert exit_code(found) is Exit.AGREED
