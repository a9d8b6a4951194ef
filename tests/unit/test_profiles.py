"""Profiles as files: what is read, and what is refused with which words."""

import os
from pathlib import Path

import pytest

from testbed.errors import Exit, ProfileError
from testbed.model.behaviour import (
    Allocation,
    Exposed,
    Filtering,
    Hairpin,
    Mapping,
    PortRange,
    Refresh,
    Timeouts,
    Unsolicited,
)
from testbed.nat.load import (
    DEFAULT,
    SETS,
    VARIABLE,
    catalogue,
    find,
    is_own,
    load,
    named,
    with_timeouts,
)
from testbed.studies.punch import selection

HEAD = """\
title = "A NAT"
met = "in a test"
source = "none: made up"
engine = "nftables"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "odd.toml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        load(written(folder, text))
    assert caught.value.exit_code is Exit.USAGE
    return caught.value


def test_the_catalogue_has_the_nine_pairs_for_udp_and_tcp_alike() -> None:
    mappings = {
        "eim": Mapping.ENDPOINT_INDEPENDENT,
        "adm": Mapping.ADDRESS_DEPENDENT,
        "apdm": Mapping.ADDRESS_AND_PORT_DEPENDENT,
    }
    filterings = {
        "eif": Filtering.ENDPOINT_INDEPENDENT,
        "adf": Filtering.ADDRESS_DEPENDENT,
        "apdf": Filtering.ADDRESS_AND_PORT_DEPENDENT,
    }
    profiles = catalogue()
    for mapping, mapping_word in mappings.items():
        for filtering, filtering_word in filterings.items():
            behaviour = profiles[f"{mapping}-{filtering}"].behaviour
            for transport in (behaviour.udp, behaviour.tcp):
                assert (transport.mapping, transport.filtering) == (mapping_word, filtering_word)
                assert not transport.overloading


def test_the_catalogue_is_sorted_and_every_profile_says_where_it_is_met_and_its_source() -> None:
    profiles = catalogue()
    assert list(profiles) == sorted(profiles)
    for name, profile in profiles.items():
        assert profile.name == name
        assert profile.path == DEFAULT / f"{name}.toml"
        assert profile.met
        assert not profile.source.startswith("none") or profile.source.startswith("none: ")


def test_the_catalogue_exercises_every_word_of_every_axis() -> None:
    behaviours = [profile.behaviour for profile in catalogue().values()]
    transports = [t for b in behaviours for t in (b.udp, b.tcp)]
    assert {t.mapping for t in transports} == set(Mapping)
    assert {t.filtering for t in transports} == set(Filtering)
    assert {t.allocation for t in transports} == set(Allocation)
    assert {t.unsolicited for t in transports} == set(Unsolicited)
    assert {b.hairpin for b in behaviours} == set(Hairpin)
    assert {b.refresh for b in behaviours} == set(Refresh)
    assert {b.exposed for b in behaviours} == set(Exposed)
    assert any(b.quota for b in behaviours)
    assert any(b.forwards for b in behaviours)
    assert {b.port_mapping.upnp_igd for b in behaviours} == {0, 1, 2}
    datagrams = {(b.port_mapping.nat_pmp, b.port_mapping.pcp) for b in behaviours}
    assert datagrams == {(False, False), (True, False), (False, True), (True, True)}


def test_both_stands_for_what_udp_and_tcp_do_not_say(tmp_path: Path) -> None:
    text = HEAD + (
        '[both]\nmapping = "address_dependent"\nallocation = "hashed"\n'
        "ports = { first = 2000, last = 3000 }\n[tcp]\nseed = 9\n"
    )
    behaviour = load(written(tmp_path, text)).behaviour
    assert behaviour.udp.mapping is behaviour.tcp.mapping is Mapping.ADDRESS_DEPENDENT
    assert behaviour.udp.ports == PortRange(2000, 3000)
    assert (behaviour.udp.seed, behaviour.tcp.seed) == (0, 9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD.replace("met", "seen"), ["missing key 'met'"]),
        (HEAD + "harpin = 1\n", ["odd.toml:5", "harpin", "unknown key", "hairpin"]),
        (HEAD + '[udp]\nmaping = "none"\n', ["odd.toml:6", "udp.maping", "mapping"]),
        (HEAD + '[both]\nmapping = "cone"\n', ["odd.toml:6", "udp.mapping", "'cone'", "none, end"]),
        (HEAD + '[tcp]\nseed = "x"\n', ["odd.toml:6", "tcp.seed", "type int", "'x'"]),
        (HEAD + "[tcp]\nseed = true\n", ["odd.toml:6", "tcp.seed", "type int", "True"]),
        (HEAD + "[tcp]\nseed = -1\n", ["odd.toml:6", "within 0 and 4294967295"]),
        (HEAD + "[udp]\nallowed_ports = 80\n", ["odd.toml:6", "must be a list"]),
        (HEAD + "[udp]\nallowed_ports = [70000]\n", ["odd.toml:6", "within 1 and 65535"]),
        (
            HEAD + "[udp]\nports = { first = 9, last = 8 }\n",
            ["odd.toml:6", "udp.ports", "empty: 9 to 8"],
        ),
        (HEAD + "[port_mapping]\nupnp_igd = 3\n", ["odd.toml:6", "upnp_igd", "within 0 and 2"]),
        (HEAD + "[port_mapping]\npcp = 1\n", ["odd.toml:6", "port_mapping.pcp", "type bool"]),
        (HEAD + "[port_mapping]\nupnp = 1\n", ["odd.toml:6", "unknown key", "upnp_igd, nat_pmp"]),
        (HEAD + "[timeouts]\nudp = 'long'\n", ["odd.toml:6", "timeouts.udp", "type float"]),
        *(
            (
                HEAD + f"[timeouts]\nudp = 9\n{key} = {number}\n",
                ["odd.toml:7", key, "1 and 2000000"],
            )
            for key in ("udp_stream", "tcp_transitory", "tcp_established")
            for number in ("nan", "inf", "-inf", "1e12", "0", "9" * 400)
        ),
        (HEAD + "[timeouts]\nudp = nan\n", ["odd.toml:6", "timeouts.udp", "not nan"]),
        (HEAD + "[tcp]\nallowed_ports = [80, 443, 80]\n", ["odd.toml:6", "distinct, 80", "twice"]),
        (HEAD + f"quota = {'9' * 5000}\n", ["odd.toml"]),
        (HEAD + f"quota = {'[' * 5000}\n", ["odd.toml"]),
        (HEAD + "[[forwards]]\nhost = 0\n", ["missing key 'protocol'"]),
        (HEAD + "quota = 0\n", ["odd.toml:5", "quota", "within 1"]),
        (HEAD + "udp = 3\n", ["odd.toml:5", "udp", "must be a table"]),
        (HEAD.replace('"nftables"', '"ipfw"'), ["odd.toml:4", "engine", "iptables, nftables"]),
        (HEAD.replace('"A NAT"', '" "'), ["odd.toml:1", "title", "empty"]),
        ("title = \n", ["odd.toml", "line 1"]),
        (HEAD + "[timeouts]\nudp = 1.5\nudp_stream = 1.5\n", ["odd.toml", "whole seconds"]),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_its_key_and_what_was_expected(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    message = str(refusal(tmp_path, text))
    for word in words:
        assert word in message


def test_a_file_that_is_not_there_or_not_text_is_a_profile_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="absent"):
        load(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="bytes"):
        load(tmp_path / "bytes.toml")


def own(folder: Path, name: str = "mine", text: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text or (DEFAULT / "symmetric.toml").read_text())
    return path


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(ProfileError) as caught:
        find("full-cones")
    assert caught.value.remedy is not None
    assert "full-cone" in caught.value.remedy


def test_a_path_is_a_profile_wherever_a_name_is(tmp_path: Path) -> None:
    path = own(tmp_path)
    assert find(str(path)).name == "mine"
    assert find("mine.toml", tmp_path).path == path
    assert find(str(path)).text == path.read_text()
    assert [one.name for one in named(["pf", str(path)])] == ["pf", "mine"]
    assert find(str(DEFAULT / "pf.toml")) == find("pf")


def test_a_file_that_was_changed_is_read_as_it_is_now(tmp_path: Path) -> None:
    path = own(tmp_path)
    before, told = load(path), path.stat()
    path.write_text(before.text.replace(before.title, before.title[::-1]))
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert load(path).title == before.title[::-1]


def test_a_path_that_leads_nowhere_is_told_once_and_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        find("./absent.toml", tmp_path)
    assert caught.value.message == f"{tmp_path}/absent.toml: No such file or directory"
    with pytest.raises(ProfileError, match="nowhere/full-cone: No such file"):
        find("nowhere/full-cone", tmp_path)


def test_profiles_of_a_folder_are_known_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = set(catalogue())
    path = own(tmp_path / "somewhere")
    monkeypatch.setenv(VARIABLE, str(path.parent))
    assert set(catalogue()) == ours | {"mine"}
    assert find("mine").path == path
    assert is_own(find("mine"))
    assert not is_own(find("pf"))
    with pytest.raises(ProfileError) as caught:
        find("mines")
    assert caught.value.remedy is not None
    assert "did you mean mine" in caught.value.remedy


def test_the_users_configuration_has_a_folder_of_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert set(catalogue()) == {path.stem for path in DEFAULT.glob("*.toml")}
    (tmp_path / "nat-testbed").mkdir()
    path = own(tmp_path / "nat-testbed" / "profiles")
    assert find("mine").path == path


def test_a_folder_without_profiles_that_was_named_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ProfileError, match="no profiles in"):
        find("pf")


@pytest.mark.parametrize("name", ["symmetric", *SETS])
def test_the_name_of_one_of_ours_is_refused_wherever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = own(tmp_path, name)
    with pytest.raises(ProfileError, match=f"{path}: there is a .* called {name}"):
        find(str(path))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ProfileError, match=f"{path}: there is a .* called {name}"):
        catalogue()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    words = [str(own(tmp_path / "one")), str(own(tmp_path / "two"))]
    with pytest.raises(ProfileError, match="two profiles are called mine"):
        named(words)
    assert len(named([words[0], words[0]])) == 2


@pytest.mark.parametrize("name", ["a b", "a--b", "-a", "ä", "x" * 41, "a.b", "*"])
def test_a_name_that_would_not_do_for_a_folder_or_a_pattern_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ProfileError, match="does not do for one"):
        find(str(own(tmp_path, name)))


def test_the_names_of_sets_are_those_of_the_matrix() -> None:
    assert sorted(SETS) == sorted(("all", *selection.SETS))


def test_named_keeps_the_order() -> None:
    assert [profile.name for profile in named(["symmetric", "full-cone"])] == [
        "symmetric",
        "full-cone",
    ]


def test_with_timeouts_changes_the_timers_alone_and_is_checked() -> None:
    profile = find("full-cone")
    short = with_timeouts(profile, Timeouts(2, 2, 3, 4))
    assert short.behaviour.timeouts == Timeouts(2, 2, 3, 4)
    assert short.behaviour.udp == profile.behaviour.udp
    with pytest.raises(ProfileError, match="one UDP timer"):
        with_timeouts(profile, Timeouts(2, 3, 3, 4))
