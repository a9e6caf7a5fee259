"""Which handles are tracked, as a person writes them down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sf_assets.handles.edit import track, untrack
from sf_assets.handles.parse import parse_registry, read_registry, registry_in_force
from sf_assets.handles.settings import (
    HandleSettings,
    PageDepth,
    Registry,
    RegistryError,
    Retention,
    normalise_handle,
)
from sf_assets.model import SnapshotKey

ALLOWED = set("abcdefghijklmnopqrstuvwxyz0123456789._")
# Words that YAML, left to itself, takes for numbers, truth values or nothing.
ODD_HANDLES = ["007", "on", "null", "true", "no", "1e3", "1_000", "0x1f", "1.50", "_", "none"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handles.yaml"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def problem(text: str) -> str:
    with pytest.raises(RegistryError) as caught:
        parse_registry(text)
    return str(caught.value)


# --- handles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "handle"),
    [
        ("bob", "bob"),
        ("@Bob ", "bob"),
        ("  BOB.99_x\n", "bob.99_x"),
        ("_", "_"),
        ("a..b", "a..b"),
        ("x" * 128, "x" * 128),
        ("https://www.tiktok.com/@Bob.99", "bob.99"),
        ("tiktok.com/@bob/?lang=en", "bob"),
        (" http://m.tiktok.com/@bob#top ", "bob"),
    ],
)
def test_a_handle_has_one_spelling(typed: str, handle: str) -> None:
    assert normalise_handle(typed) == handle


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "@",
        "@@bob",
        "@ bob",
        "a/b",
        "..",
        ".",
        "../etc/passwd",
        "a\\b",
        ".bob",
        "bob.",
        "x" * 129,
        "foo|bar",
        "bob'; DROP TABLE snapshots; --",
        "<script>alert(1)</script>",
        "bob\x00",
        "bob\nalice",
        "bob alice",
        "b\u00f6b",
        "b\u043eb",  # a Cyrillic o
        "\u212aate",  # the Kelvin sign, whose lower case is an ordinary k
        "\uff42ob",  # a full-width b
        "bob\u200b",
        "\u0130bo",
        "bob\u0661",  # an Arabic digit
        "bob-alice",
        "%2e%2e",
        "https://www.tiktok.com/@bob/video/1",
        "https://www.tiktok.com/@../x",
        "https://tiktok.com.example.com/@bob",
        "https://example.com/@bob",
        "tiktok.com/@b%6fb",
    ],
)
def test_what_is_no_handle_never_becomes_a_key_or_a_path(typed: str) -> None:
    with pytest.raises(RegistryError, match="is not a TikTok handle"):
        normalise_handle(typed)


def test_a_very_long_text_is_not_repeated_in_full() -> None:
    with pytest.raises(RegistryError) as caught:
        normalise_handle("x" * 5000)
    assert len(str(caught.value)) < 300


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=140),
        st.text(alphabet="abcKL019._@ \u212a\u017f\u0131", max_size=20),
        st.from_regex(r"@?[A-Za-z0-9._]{1,130}", fullmatch=True),
    )
)
def test_normalising_is_idempotent_and_its_result_always_keeps_the_rule(typed: str) -> None:
    try:
        handle = normalise_handle(typed)
    except RegistryError:
        return
    assert normalise_handle(handle) == handle
    assert set(handle) <= ALLOWED
    assert 1 <= len(handle) <= 128
    assert not handle.startswith(".")
    assert not handle.endswith(".")


# --- reading --------------------------------------------------------------------------------------


def test_handles_may_be_a_list() -> None:
    found = parse_registry("handles:\n  - bob\n  - '@Alice'\n")
    assert list(found.handles) == ["bob", "alice"]
    assert found.settings_of("bob") == HandleSettings()
    assert found.settings_of("bob").max_pages is None


def test_handles_may_be_a_map_with_settings_of_their_own() -> None:
    found = parse_registry(
        """
        defaults: {priority: 1, tags: [all]}
        handles:
          bob:
          alice:
            relations: [followers]
            depth: {pages: 3}
            priority: 9
            user_id: 0012345678901234567
            tags: [press, 2026]
        """
    )
    assert found.settings_of("bob") == HandleSettings(priority=1, tags=("all",))
    assert found.settings_of("alice") == HandleSettings(
        relations=("followers",),
        depth=PageDepth(pages=3),
        priority=9,
        user_id="0012345678901234567",
        tags=("press", "2026"),
    )
    assert found.settings_of("alice").max_pages == 3


def test_defaults_hold_for_a_list_too() -> None:
    found = parse_registry("defaults:\n  depth: {pages: 2}\nhandles: [bob]\n")
    assert found.settings_of("bob").max_pages == 2


def said(text: str, handle: str) -> list[str]:
    own = parse_registry(text).settings_of(handle)
    return [own.of(relation).describe() for relation in own.relations]


def test_each_list_may_have_its_own_depth_and_weekdays() -> None:
    text = """
        defaults:
          depth: recent
          following: {depth: {pages: 2}, weekdays: [sun]}
        handles:
          usual:
          deep: {depth: full, daily_credits: 40}
          rare: {weekdays: [mon, thu], followers: {full_every: 14}}
          other: {following: {weekdays: [wed]}}
    """
    assert said(text, "usual") == ["recent (full every 7 days)", "2 pages, sun"]
    # What a handle says of itself holds for both its lists.
    assert said(text, "deep") == ["full", "full, sun"]
    assert said(text, "rare") == ["recent (full every 14 days), mon thu", "2 pages, mon thu"]
    assert said(text, "other") == ["recent (full every 7 days)", "2 pages, wed"]
    assert parse_registry(text).settings_of("deep").daily_credits == 40


def test_a_list_is_due_on_its_weekdays() -> None:
    found = parse_registry("handles: {a: {following: {weekdays: [sun]}}, b: {weekdays: [mon]}}")
    sunday = date(2026, 11, 22)
    assert found.due("a", "followers", sunday)
    assert found.due("a", "following", sunday)
    assert not found.due("a", "following", sunday + timedelta(days=1))
    assert not found.due("b", "followers", sunday)
    assert found.lists_due(sunday + timedelta(days=1)) == [
        SnapshotKey(sunday + timedelta(days=1), handle, relation)
        for handle, relation in (("a", "followers"), ("b", "followers"), ("b", "following"))
    ]


@pytest.mark.parametrize("form", ["handles: [{}]", "handles: {{{}: }}", "handles:\n  - {}"])
@pytest.mark.parametrize("handle", ODD_HANDLES)
def test_handles_that_look_like_numbers_or_nothing_stay_text(form: str, handle: str) -> None:
    assert list(parse_registry(form.format(handle)).handles) == [handle]


@pytest.mark.parametrize(
    "text", ["", "# nothing yet\n", "handles:\n", "handles: []\n", "handles: {}\n", "defaults:\n"]
)
def test_a_file_without_handles_tracks_nobody(text: str) -> None:
    assert parse_registry(text) == Registry()


def test_a_file_that_is_not_there_tracks_nobody(path: Path) -> None:
    assert read_registry(path) == Registry()


def test_a_file_saved_with_a_byte_order_mark_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbfhandles:\r\n  - bob\r\n")
    assert list(read_registry(path).handles) == ["bob"]


def test_a_file_that_is_no_text_is_an_error_and_not_an_empty_list(path: Path) -> None:
    path.write_bytes(b"handles: [b\xff\xfe]")
    with pytest.raises(RegistryError, match=r"cannot read .*handles\.yaml"):
        read_registry(path)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("handles:\n  - bob\n  - a/b\n", 3, "'a/b' is not a TikTok handle"),
        ("handles:\n  - bob\n  -\n", 3, "'' is not a TikTok handle"),
        ("handles:\n  - bob\n  - '@Bob'\n", 3, "bob is listed twice"),
        ("handles:\n  bob:\n  Bob:\n", 3, "bob is listed twice"),
        ("handles: [bob]\nhandles: [eve]\n", 2, "handles: appears twice"),
        ("handels:\n  - bob\n", 1, "unknown key 'handels'"),
        ("? [a]\n: b\n", 1, "unknown key"),
        ("- bob\n", 1, "the file must be a mapping"),
        ("bob\n", 1, "the file must be a mapping"),
        ("handles: bob\n", 1, "must be a list or a mapping"),
        ("handles:\n  - [bob]\n", 2, "must be a handle"),
        ("handles:\n  - bob: {priority: 1}\n", 2, "must be a handle"),
        ("handles:\n  ? [bob]\n  : x\n", 2, "must be plain text"),
        ("handles:\n  bob: 3\n", 2, "settings must be a mapping"),
        ("handles:\n  bob: {dept: full}\n", 2, "bob: dept: "),
        ("handles:\n  bob: {priority: 1, priority: 2}\n", 2, "priority: is set twice"),
        ("handles:\n  bob: {priority: high}\n", 2, "bob: priority: "),
        ("handles:\n  bob: {depth: {pages: 0}}\n", 2, "depth: must be full, recent, or {pages: N}"),
        ("handles:\n  bob: {relations: [likes]}\n", 2, "relations: must be a list with followers"),
        ("handles:\n  bob: {user_id: '@bob'}\n", 2, "bob: user_id: "),
        ("handles:\n  bob: {followers: {depth: all}}\n", 2, "bob: followers.depth: must be full"),
        ("handles:\n  bob: {followers: deep}\n", 2, "bob: followers: must be a mapping with any"),
        ("handles:\n  bob: {following: {tags: [x]}}\n", 2, "bob: following.tags: "),
        ("handles:\n  bob: {weekdays: [monday]}\n", 2, "bob: weekdays: must be a list of days"),
        ("handles:\n  bob: {weekdays: []}\n", 2, "bob: weekdays: must be a list of days"),
        ("handles:\n  bob: {tags: acme}\n", 2, "bob: tags: must be a list of words"),
        ("handles:\n  bob: {tags: [acme, ' ']}\n", 2, "bob: tags: must be a list of words"),
        ("handles:\n  bob: {tags: [acme, null]}\n", 2, "bob: tags: must be a list of words"),
        ("handles: [bob]\nalerts: {tags: acme}\n", 2, "alerts: tags: must be a list of words"),
        ("handles:\n  bob: {full_every: 0}\n", 2, "bob: full_every: "),
        ("handles:\n  bob: {daily_credits: 0}\n", 2, "bob: daily_credits: "),
        ("handles: [bob]\ndefaults: {followers: 3}\n", 2, "defaults: followers: must be a mapping"),
        ("handles: [bob]\ndefaults: 3\n", 2, "defaults: must be a mapping"),
        ("handles: [bob]\nretention: 3\n", 2, "retention: must be a mapping"),
        (
            "handles: [bob]\nretention: {raw_days: 0}\n",
            2,
            "retention: raw_days: must be at least",
        ),
        (
            "handles: [bob]\nretention: {runs_days: 1}\n",
            2,
            "retention: runs_days: must be at least",
        ),
        (
            "handles: [bob]\nretention: {raw_days: off}\n",
            2,
            "retention: raw_days: must be a whole number",
        ),
        ("handles: [bob]\nretention: {days: 9}\n", 2, "retention: days: "),
        (
            "handles: [bob]\ndefaults: {tag: x}\n",
            2,
            "tag: is unknown; did you mean tags?",
        ),
        ("alerts: {adresses: {a: 'json://hush'}}\nhandles: [bob]\n", 1, "alerts: adresses: "),
        ("handles: [bob]\nalerts: {tags: []}\n", 2, "alerts: tags: "),
        ("handles: [bob]\nalerts: {addresses: [json://hush]}\n", 2, "alerts: addresses: "),
        ("handles: [bob]\nalerts: hush\n", 2, "alerts: "),
        ("handles:\n\t- bob\n", 2, "cannot start any token"),
        ("handles:\n  - bob\n  - @eve\n", 3, "cannot start any token"),
        ("handles:\n  - bob\n  - \x07\n", 3, "does not allow"),
        ("handles: [bob\n", 2, "expected"),
        ("handles: [bob]\n---\nhandles: [eve]\n", 2, "document"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(text: str, line: int, says: str) -> None:
    told = problem(text)
    assert told.startswith(f"handles.yaml:{line}: ")
    assert says in told
    assert "hush" not in told  # addresses hold tokens


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory() -> None:
    lines = ["defaults:", "  tags: &a0 [x]"]
    lines += [f"  t{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 10,000 values" in problem("\n".join([*lines, "handles: [bob]", ""]))


@pytest.mark.parametrize(
    "text",
    ["handles:\n  bob: &a\n    tags: [*a]\n", f"handles: {'[' * 5_000}{']' * 5_000}\n"],
    ids=["an alias of itself", "nested without end"],
)
def test_what_has_no_bottom_is_refused(text: str) -> None:
    assert "an alias contains itself, or the nesting is too deep" in problem(text)


def test_a_mistyped_handle_finds_the_one_that_was_meant() -> None:
    found = parse_registry("handles: [nasa, spacex]")
    assert found.closest("nasaa") == "nasa"
    assert found.closest("qqqqqq") is None


# --- editing --------------------------------------------------------------------------------------

LIST = """\
# whom we watch
defaults:
  priority: 1   # as long as nothing else is said
handles:
  # the big ones
  - nasa  # since 2026
  # the others
  - bob
  - 007
# the end
"""

MAP = """\
handles:
  # the big ones
  nasa:  # since 2026
    tags: [space]  # ours
    # even deeper
    priority: 2
  # the others
  bob:
  007: {priority: 5}
  # the end
"""


def comments(text: str) -> list[str]:
    return [line.split("#", 1)[1].strip() for line in text.splitlines() if "#" in line]


def test_tracking_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "handles.yaml"
    assert track(path, ["@Bob", "alice", "bob"]) == ["bob", "alice"]
    assert list(read_registry(path).handles) == ["bob", "alice"]


@pytest.mark.parametrize("text", [LIST, MAP])
def test_tracking_keeps_every_comment_and_every_setting(path: Path, text: str) -> None:
    before = read_registry(written(path, text)).handles
    assert track(path, ["eve"]) == ["eve"]
    after = read_registry(path)
    assert list(after.handles) == ["nasa", "bob", "007", "eve"]
    assert {handle: after.handles[handle] for handle in before} == before
    assert comments(path.read_text(encoding="utf-8")) == comments(text)


def test_tracking_keeps_a_file_of_comments_only(path: Path) -> None:
    written(path, "# one line a handle\n\n#  - like this\n")
    track(path, ["bob"])
    assert list(read_registry(path).handles) == ["bob"]
    assert {"one line a handle", "- like this"} <= set(comments(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("text", [LIST, MAP])
def test_tracking_twice_changes_nothing_the_second_time(path: Path, text: str) -> None:
    track(written(path, text), ["eve"])
    before = path.read_bytes()
    assert track(path, ["eve", "@NASA"]) == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", [LIST, MAP])
def test_tracking_with_settings_adds_to_what_was_set(path: Path, text: str) -> None:
    before = read_registry(written(path, text)).handles
    told = {"depth": {"pages": 3}, "relations": ["followers"]}
    assert track(path, ["nasa", "eve"], told) == ["eve"]
    after = read_registry(path)
    assert list(after.handles) == ["nasa", "bob", "007", "eve"]
    assert after.handles["nasa"] == before["nasa"].model_copy(
        update={"depth": PageDepth(pages=3), "relations": ("followers",)}
    )
    assert after.handles["eve"].max_pages == 3
    assert after.handles["007"] == before["007"]
    assert set(comments(path.read_text(encoding="utf-8"))) == set(comments(text))


def test_wrong_settings_are_refused_before_anything_is_written(path: Path) -> None:
    written(path, LIST)
    with pytest.raises(RegistryError, match="depth"):
        track(path, ["eve"], {"depth": "deep"})
    assert path.read_text(encoding="utf-8") == LIST


@pytest.mark.parametrize("text", [LIST, MAP])
def test_untracking_keeps_all_other_lines_as_they_were(path: Path, text: str) -> None:
    assert untrack(written(path, text), ["@Bob"]) == ["bob"]
    left = [line for line in text.splitlines() if "bob" not in line]
    assert path.read_text(encoding="utf-8").splitlines() == left


@pytest.mark.parametrize("text", [LIST, MAP])
def test_untracking_keeps_the_comment_above_the_next_handle(path: Path, text: str) -> None:
    assert untrack(written(path, text), ["nasa"]) == ["nasa"]
    assert list(read_registry(path).handles) == ["bob", "007"]
    assert {"the big ones", "the others", "the end"} <= set(
        comments(path.read_text(encoding="utf-8"))
    )


@pytest.mark.parametrize("text", [LIST, MAP, "handles: [nasa, bob, 007]", "{handles: {bob: }}"])
def test_untracking_twice_changes_nothing_the_second_time(path: Path, text: str) -> None:
    untrack(written(path, text), ["bob"])
    assert "bob" not in read_registry(path).handles
    before = path.read_bytes()
    assert untrack(path, ["bob"]) == []
    assert path.read_bytes() == before


def test_untracking_everybody_leaves_a_file_that_can_be_read(path: Path) -> None:
    assert untrack(written(path, LIST), ["nasa", "bob", "007"]) == ["nasa", "bob", "007"]
    assert read_registry(path).handles == {}
    assert registry_in_force(path)[1] is None  # nobody, as was asked for
    assert track(path, ["eve"]) == ["eve"]
    assert list(read_registry(path).handles) == ["eve"]


def test_untracking_a_handle_whose_settings_others_share_keeps_theirs(path: Path) -> None:
    written(path, "handles:\n  bob: &all {priority: 4}\n  eve: *all\n")
    untrack(path, ["bob"])
    assert read_registry(path).handles == {"eve": HandleSettings(priority=4)}


@pytest.mark.parametrize("form", ["handles:\n  - {}\n  - bob\n", "handles:\n  {}:\n  bob:\n"])
@pytest.mark.parametrize("handle", ODD_HANDLES)
def test_odd_handles_survive_every_edit(path: Path, form: str, handle: str) -> None:
    written(path, form.format(handle))
    track(path, ["eve"])
    assert list(read_registry(path).handles) == [handle, "bob", "eve"]
    track(path, ["eve"], {"priority": 3})
    assert list(read_registry(path).handles) == [handle, "bob", "eve"]
    assert untrack(path, [handle]) == [handle]
    assert list(read_registry(path).handles) == ["bob", "eve"]
    assert track(path, [handle]) == [handle]
    assert list(read_registry(path).handles) == ["bob", "eve", handle]


def test_a_broken_file_is_never_overwritten(path: Path) -> None:
    written(path, "handles:\n  - bob\n  - a/b\n")
    before = path.read_bytes()
    for edit in (track, untrack):
        with pytest.raises(RegistryError, match=r"handles\.yaml:3: "):
            edit(path, ["bob"])
    assert path.read_bytes() == before


def test_a_bad_handle_among_good_ones_writes_nothing(path: Path) -> None:
    written(path, LIST)
    with pytest.raises(RegistryError, match="is not a TikTok handle"):
        track(path, ["eve", "a/b"])
    assert path.read_text(encoding="utf-8") == LIST


def test_a_link_to_a_file_kept_elsewhere_stays_a_link(tmp_path: Path, path: Path) -> None:
    elsewhere = written(tmp_path / "kept in git.yaml", LIST)
    path.symlink_to(elsewhere)
    track(path, ["eve"])
    assert path.is_symlink()
    assert "eve" in read_registry(elsewhere).handles


# --- the list in force ----------------------------------------------------------------------------

GOOD = """\
defaults: {daily_credits: 9}
handles:
  bob: {relations: [followers], depth: {pages: 2}}
  eve:
"""


@pytest.mark.parametrize(
    "now",
    [
        None,
        b"",
        b" \n\n",
        b"# handles:\n#   - bob\n",
        b"defaults: {depth: recent}\n",
        b"x-team: {priority: 1}\n",
        b"handles: [bob, bob\n",
        b"handles: [bob, Bob]\n",
        b"handles:\n  bob: {dept: full}\n",
        b"bob",
        b"handles: [b\xff]\n",
    ],
    ids=repr,
)
def test_without_a_list_in_the_file_the_last_good_one_stays_in_force_with_its_limits(
    path: Path, now: bytes | None
) -> None:
    good, wrong = registry_in_force(written(path, GOOD))
    assert wrong is None
    path.unlink() if now is None else path.write_bytes(now)
    for _ in range(2):
        kept, wrong = registry_in_force(path)
        assert kept == good == parse_registry(GOOD)
        assert wrong is not None
        assert "handles.yaml" in wrong
        assert "the last valid version with 2 handles stays in force" in wrong
    assert (path.read_bytes() if path.exists() else None) == now
    # An edit would replace the list in force by the handle that it is about.
    for edit in (track, untrack):
        with pytest.raises(RegistryError):
            edit(path, ["bob"])
    assert (path.read_bytes() if path.exists() else None) == now


@pytest.mark.parametrize("now", ["handles: {}\n", "handles: []\n", "handles:\n"])
def test_a_list_of_nobody_that_is_written_out_means_nobody(path: Path, now: str) -> None:
    registry_in_force(written(path, GOOD))
    assert registry_in_force(written(path, now)) == (Registry(), None)
    path.unlink()
    assert registry_in_force(path) == (Registry(), None)


@pytest.mark.parametrize("now", [None, "", "# nothing yet\n", "defaults: {}\n"])
def test_a_new_home_tracks_nobody_and_says_nothing_of_it(path: Path, now: str | None) -> None:
    if now is not None:
        written(path, now)
    assert registry_in_force(path) == (Registry(), None)
    assert track(path, ["bob"]) == ["bob"]


def test_a_file_that_was_never_good_tracks_nobody_and_says_so(path: Path) -> None:
    registry, wrong = registry_in_force(written(path, "handles: ["))
    assert registry.handles == {}
    assert wrong is not None
    assert "no handle is tracked" in wrong


def test_a_damaged_copy_of_the_last_good_list_tracks_nobody_and_says_so(path: Path) -> None:
    track(path, ["bob"])
    path.unlink()
    (copy,) = path.parent.iterdir()
    copy.write_bytes(b"\xff")
    registry, wrong = registry_in_force(path)
    assert registry.handles == {}
    assert wrong is not None
    assert copy.name in wrong


def test_what_was_tracked_last_is_what_stays_in_force(path: Path) -> None:
    track(path, ["bob", "eve"])
    untrack(path, ["eve"])
    path.unlink()
    assert list(registry_in_force(path)[0].handles) == ["bob"]


# --- merges and keys of one's own -----------------------------------------------------------------

MERGED = """\
x-team: &team
  daily_credits: 50
  followers: {depth: {pages: 3}}  # enough
x-press: &press {tags: [press], daily_credits: 7}
defaults: &defaults
  depth: recent
handles:
  # who shares
  one: {<<: *team}
  two:
    <<: [*press, *team]
    priority: 2
  three:
    <<: *defaults
    daily_credits: 1
    following: {<<: {weekdays: [mon]}, full_every: 3}
  four: *team
  # and who does not
  five:
"""


def test_merges_are_settings_like_any_other_and_own_ones_go_before_them() -> None:
    handles = parse_registry(MERGED).handles
    assert list(handles) == ["one", "two", "three", "four", "five"]
    assert handles["one"] == handles["four"]
    assert (handles["one"].daily_credits, handles["one"].of("followers").max_pages) == (50, 3)
    assert handles["two"].of("followers").max_pages == 3
    assert (handles["two"].daily_credits, handles["two"].tags) == (7, ("press",))
    assert (handles["two"].priority, handles["two"].depth) == (2, "recent")
    assert (handles["three"].daily_credits, handles["three"].depth) == (1, "recent")
    assert handles["three"].of("following").describe() == "recent (full every 3 days), mon"
    assert handles["five"] == HandleSettings(depth="recent")


def test_handles_can_be_merged_from_elsewhere() -> None:
    found = parse_registry("x-a: &a {bob: {priority: 1}, eve: }\nhandles: {<<: *a, bob: }\n")
    assert found.handles == {"bob": HandleSettings(), "eve": HandleSettings()}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x-a: &a 3\nhandles:\n  bob: {<<: *a}\n", 3, "<<: must name a mapping"),
        ("x-a: &a [x]\nhandles:\n  bob: {<<: *a}\n", 3, "<<: must name a mapping"),
        ("x-a: &a {dept: full}\nhandles:\n  bob:\n    <<: *a\n", 4, "bob: dept: "),
        ("x-a: &a {a/b: }\nhandles:\n  <<: *a\n", 1, "'a/b' is not a TikTok handle"),
        ("handles:\n  bob: {'<<': {priority: 1}}\n", 2, "bob: <<: "),
        ("handles: [bob]\nX-a: 1\n", 2, "unknown key 'X-a'"),
    ],
)
def test_a_merge_that_is_wrong_is_told_with_its_line(text: str, line: int, says: str) -> None:
    told = problem(text)
    assert told.startswith(f"handles.yaml:{line}: ")
    assert says in told
    assert "hush" not in told  # addresses hold tokens


def test_merges_of_merges_are_refused_before_they_take_for_ever() -> None:
    lines = ["x-a0: &a0 {priority: 1}"]
    lines += [f"x-a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    assert "more than 10,000 values" in problem("\n".join([*lines, "handles: {bob: *a8}", ""]))


def test_an_edit_keeps_merges_and_changes_nobody_else(path: Path) -> None:
    before = read_registry(written(path, MERGED)).handles
    assert track(path, ["six", "five"], {"priority": 4}) == ["six"]
    assert untrack(path, ["three"]) == ["three"]
    after = read_registry(path).handles
    assert list(after) == ["one", "two", "four", "five", "six"]
    assert {one: after[one] for one in ("one", "two", "four")} == {
        one: before[one] for one in ("one", "two", "four")
    }
    assert set(comments(path.read_text(encoding="utf-8"))) == set(comments(MERGED))
    assert "<<: *team" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        (MERGED, lambda path: track(path, ["four"], {"priority": 4})),
        (
            "x-a: &a {bob: }\nhandles: {<<: *a, eve: }\n",
            lambda path: untrack(path, ["bob"]),
        ),
    ],
    ids=["settings of two handles", "a handle merged from elsewhere"],
)
def test_an_edit_of_what_handles_share_is_refused_and_nothing_written(
    path: Path, text: str, edit: Callable[[Path], object]
) -> None:
    written(path, text)
    with pytest.raises(RegistryError, match="edit the file by hand"):
        edit(path)
    assert path.read_text(encoding="utf-8") == text


def test_retention_is_read_and_an_edit_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "handles.yaml"
    path.write_text("retention: {raw_days: 14}  # for audits\nhandles:\n  bob:\n")
    assert read_registry(path).retention == Retention(raw_days=14, runs_days=90)
    track(path, ["eve"])
    untrack(path, ["bob"])
    assert path.read_text() == "retention: {raw_days: 14}  # for audits\nhandles:\n  eve:\n"
    assert parse_registry("handles: [bob]").retention == Retention(raw_days=7, runs_days=90)
