"""The environment as settings: what each variable means, and what is said of a wrong one."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

from sf_assets.errors import SettingsError
from sf_assets.model import ALERT_KINDS
from sf_assets.settings import VARIABLES, Settings, is_loopback, load_settings

LOOPBACK = "http://127.0.0.1:4010"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours but those the test sets."""
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def complaint(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(monkeypatch, **variables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_any_variable_the_real_api_is_asked_once_a_day_without_a_cap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings(monkeypatch)
    assert found.key() is None
    assert found.base_url == "https://api.socialfetch.dev"
    assert not found.simulated
    assert found.home == tmp_path / "data"
    assert found.start_date is None
    assert found.cron == "0 6 * * *"
    assert found.concurrency == 32
    assert found.daily_credits is None
    assert found.alert_urls == ()
    assert found.today is None


def test_each_setting_has_its_variable() -> None:
    assert VARIABLES.keys() == Settings.model_fields.keys()
    assert {name for name in VARIABLES.values() if not name.startswith("SF_ASSETS_")} == {
        "SOCIALFETCH_API_KEY",
        "SOCIALFETCH_API_KEY_FILE",
        "SOCIALFETCH_BASE_URL",
    }


def test_a_setting_that_is_built_by_hand_reads_no_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in VARIABLES.values():
        monkeypatch.setenv(name, "wrong")
    found = Settings(home=tmp_path, daily_credits=7)
    assert (found.home, found.daily_credits, found.key()) == (tmp_path, 7, None)
    with pytest.raises(ValidationError, match="daily_credit\n"):
        Settings(home=tmp_path, daily_credit=7)  # type: ignore[call-arg]


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = settings(
        monkeypatch,
        SOCIALFETCH_API_KEY="sfk_abc",
        SOCIALFETCH_BASE_URL=LOOPBACK,
        SF_ASSETS_HOME=str(tmp_path / "home"),
        SF_ASSETS_START_DATE="2026-01-31",
        SF_ASSETS_CRON="30 4 * * mon-fri",
        SF_ASSETS_CONCURRENCY="7",
        SF_ASSETS_DAILY_CREDITS="0",
        SF_ASSETS_ALERT_URLS="json://one.test/, mailto://two.test ,",
        SF_ASSETS_TODAY="2026-02-03",
    )
    assert found.require_key().get_secret_value() == "sfk_abc"
    assert found.base_url == LOOPBACK
    assert found.simulated
    assert found.home == tmp_path / "home"
    assert found.start_date == date(2026, 1, 31)
    assert found.cron == "30 4 * * mon-fri"
    assert found.concurrency == 7
    assert found.daily_credits == 0
    urls = [url.get_secret_value() for url in found.alert_urls]
    assert urls == ["json://one.test/", "mailto://two.test"]
    assert found.day() == date(2026, 2, 3)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("json://a.test/", ["json://a.test/"]),
        (" json://a.test/ ,\n discord://1/2 , ", ["json://a.test/", "discord://1/2"]),
        ("json://a.test/,JSONS://b.test/", ["json://a.test/", "JSONS://b.test/"]),
        ("nonsense,json://a.test/", ["nonsense", "json://a.test/"]),
        ("mailto://u:p@x.org?to=a@x.org,b@x.org", ["mailto://u:p@x.org?to=a@x.org,b@x.org"]),
        (
            "mailto://u:p@x.org?to=a@x.org, b@x.org,json://a.test/?+X=1,2,tgram://t/1,2/3,4",
            [
                "mailto://u:p@x.org?to=a@x.org, b@x.org",
                "json://a.test/?+X=1,2",
                "tgram://t/1,2/3,4",
            ],
        ),
        (",,", []),
    ],
)
def test_alert_urls_are_divided_only_before_a_scheme(
    monkeypatch: pytest.MonkeyPatch, text: str, urls: list[str]
) -> None:
    found = settings(monkeypatch, SF_ASSETS_ALERT_URLS=text)
    assert [url.get_secret_value() for url in found.alert_urls] == urls


def test_the_hosts_of_the_ui_are_names_with_or_without_a_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = settings(
        monkeypatch, SF_ASSETS_UI_HOSTS=" UI.example.org, ui.example.org:8443,[::1]:80"
    )
    assert found.ui_hosts == ("ui.example.org", "ui.example.org:8443", "[::1]:80")


@pytest.mark.parametrize("host", ["https://ui.example.org", "*", "a b", "ui.example.org/x", "a:b"])
def test_what_is_no_host_name_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    said = complaint(monkeypatch, SF_ASSETS_UI_HOSTS=f"fine.example.org,{host}")
    assert said.startswith(f"SF_ASSETS_UI_HOSTS: {host!r} is not a host name")


@pytest.mark.parametrize("variable", ["SF_ASSETS_HOME", "SF_ASSETS_STORAGE"])
@pytest.mark.parametrize("folder", ["a?b", "a?b/home", "?"])
def test_a_folder_with_a_question_mark_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, folder: str
) -> None:
    """Databases would take the rest for options, and write to a file of the shorter name."""
    said = complaint(
        monkeypatch,
        **{"SF_ASSETS_WAREHOUSE": "ducklake:x", variable: str(tmp_path / folder)},
    )
    assert said == (
        f"{variable}: {tmp_path / folder} contains a ?, and databases read the rest as "
        "options; use a path without ?"
    )


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    empty = settings(monkeypatch, **dict.fromkeys(VARIABLES.values(), ""))
    assert empty.base_url == "https://api.socialfetch.dev"
    assert empty.home == tmp_path / "data"
    assert (empty.key(), empty.start_date, empty.today) == (None, None, None)
    assert (empty.cron, empty.concurrency, empty.daily_credits) == ("0 6 * * *", 32, None)


def test_a_home_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings(monkeypatch, SF_ASSETS_HOME="~/lists").home == tmp_path / "lists"


def test_without_a_pretend_day_today_is_the_utc_day(monkeypatch: pytest.MonkeyPatch) -> None:
    before = datetime.now(timezone.utc).date()
    assert before <= settings(monkeypatch).day() <= datetime.now(timezone.utc).date()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SF_ASSETS_CONCURRENCY", "0", "must be at least 1"),
        ("SF_ASSETS_CONCURRENCY", "501", "must be at most 500"),
        ("SF_ASSETS_CONCURRENCY", "many", "must be a whole number"),
        ("SF_ASSETS_CONCURRENCY", "1.5", "must be a whole number"),
        ("SF_ASSETS_DAILY_CREDITS", "-1", "must be at least 0"),
        ("SF_ASSETS_DAILY_CREDITS", "100 credits", "must be a whole number"),
        ("SF_ASSETS_START_DATE", "yesterday", "YYYY-MM-DD"),
        ("SF_ASSETS_START_DATE", "2026-02-30", "day"),
        ("SF_ASSETS_START_DATE", "0", "YYYY-MM-DD"),
        ("SF_ASSETS_START_DATE", "20260101", "YYYY-MM-DD"),
        ("SF_ASSETS_TODAY", "22.11.2026", "YYYY-MM-DD"),
        ("SF_ASSETS_CRON", "@daily", "five fields"),
        ("SF_ASSETS_CRON", "0 6 * *", "five fields"),
        ("SF_ASSETS_CRON", "99 6 * * *", "five fields"),
        ("SF_ASSETS_CRON", "0 24 * * *", "five fields"),
        ("SF_ASSETS_CRON", "six in the morning please", "five fields"),
        ("SOCIALFETCH_BASE_URL", "api.socialfetch.dev", "origin"),
        ("SOCIALFETCH_BASE_URL", "ftp://api.socialfetch.dev", "origin"),
        ("SOCIALFETCH_BASE_URL", "https://", "origin"),
        ("SOCIALFETCH_BASE_URL", "https://api.socialfetch.dev?x=1", "origin without"),
        ("SOCIALFETCH_BASE_URL", "https://api.socialfetch.dev#top", "origin without"),
        ("SOCIALFETCH_BASE_URL", "http://[::1", "Invalid IPv6"),
        ("SOCIALFETCH_BASE_URL", "http://127.0.0.1:99999", "Port"),
    ],
)
def test_a_bad_value_is_told_in_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    told = complaint(monkeypatch, **{variable: value})
    assert told.startswith(f"{variable}: ")
    assert says in told


@pytest.mark.parametrize("value", ["0 6 * * *", "*/15 0-6 1,15 jan-mar 7", "5 0 * * sun"])
def test_usual_cron_expressions_are_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert settings(monkeypatch, SF_ASSETS_CRON=value).cron == value


def test_two_bad_variables_are_both_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = complaint(monkeypatch, SF_ASSETS_CONCURRENCY="x", SF_ASSETS_DAILY_CREDITS="y")
    assert "SF_ASSETS_CONCURRENCY: " in told
    assert "SF_ASSETS_DAILY_CREDITS: " in told


@pytest.mark.parametrize("concurrency", ["1", "500"])
def test_1_to_500_lists_may_be_read_at_once(
    monkeypatch: pytest.MonkeyPatch, concurrency: str
) -> None:
    found = settings(monkeypatch, SF_ASSETS_CONCURRENCY=concurrency)
    assert found.concurrency == int(concurrency)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80", "http://127.9.9.9", "http://localhost:3", "http://[::1]:9"]
)
def test_plain_http_is_fine_towards_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert is_loopback(url)
    assert settings(monkeypatch, SOCIALFETCH_BASE_URL=url).simulated


@pytest.mark.parametrize(
    "url",
    [
        "http://api.socialfetch.dev",
        "http://127.0.0.1.example.test",
        "http://localhost.example.test",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://2130706433",
    ],
)
def test_the_key_never_travels_in_the_clear(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert not is_loopback(url)
    told = complaint(monkeypatch, SOCIALFETCH_BASE_URL=url)
    assert told == "SOCIALFETCH_BASE_URL: plain http is allowed for loopback only; use https"


def test_a_slash_after_the_origin_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, SOCIALFETCH_BASE_URL="https://api.socialfetch.dev/")
    assert found.base_url == "https://api.socialfetch.dev"


def test_a_pretend_day_is_refused_with_the_real_api(monkeypatch: pytest.MonkeyPatch) -> None:
    told = complaint(monkeypatch, SF_ASSETS_TODAY="2026-01-01")
    assert told.startswith("SF_ASSETS_TODAY: works only with an API on loop")


def test_neither_key_nor_addresses_are_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(
        monkeypatch,
        SOCIALFETCH_API_KEY="sfk_very_secret",
        SF_ASSETS_ALERT_URLS="json://user:very_secret@hooks.test/",
    )
    for shown in (repr(found), str(found), repr(found.key()), found.model_dump_json()):
        assert "very_secret" not in shown


def test_a_password_in_the_base_url_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = complaint(monkeypatch, SOCIALFETCH_BASE_URL="https://me:hush@api.socialfetch.dev")
    assert told.startswith("SOCIALFETCH_BASE_URL: must be an origin without")
    assert "hush" not in told


def test_the_key_may_be_kept_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sfk_from_file\n", encoding="utf-8")
    found = settings(monkeypatch, SOCIALFETCH_API_KEY_FILE=str(tmp_path / "key"))
    assert found.require_key().get_secret_value() == "sfk_from_file"
    assert "sfk_from_file" not in repr(found)


def test_the_variable_counts_more_than_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = settings(
        monkeypatch,
        SOCIALFETCH_API_KEY="sfk_from_variable",
        SOCIALFETCH_API_KEY_FILE=str(tmp_path / "not there"),
    )
    assert found.require_key().get_secret_value() == "sfk_from_variable"


def test_a_key_file_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = settings(monkeypatch, SOCIALFETCH_API_KEY_FILE=str(tmp_path / "gone"))
    with pytest.raises(SettingsError, match=r"SOCIALFETCH_API_KEY_FILE: cannot read .*gone"):
        found.require_key()


def test_an_empty_key_file_is_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n", encoding="utf-8")
    found = settings(monkeypatch, SOCIALFETCH_API_KEY_FILE=str(tmp_path / "key"))
    with pytest.raises(SettingsError, match="SOCIALFETCH_API_KEY is not set"):
        found.require_key()


def test_whoever_has_no_key_is_shown_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"SOCIALFETCH_API_KEY is not set.*sf-assets demo"):
        settings(monkeypatch).require_key()


@pytest.mark.parametrize("key", ["sfk_\u00fc", "sfk_a\tb", "sfk_a b", "sfk_a\nb"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    found = settings(monkeypatch, SOCIALFETCH_API_KEY=key)
    with pytest.raises(SettingsError, match="SOCIALFETCH_API_KEY has characters") as caught:
        found.require_key()
    assert key not in str(caught.value)


@pytest.mark.parametrize("text", ["sfk_a\n", "sfk_a\r\n", " sfk_a ", "\tsfk_a"])
def test_white_space_around_a_key_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    kept = tmp_path / "key"
    kept.write_text(text)
    for found in (
        settings(monkeypatch, SOCIALFETCH_API_KEY=text),
        settings(monkeypatch, SOCIALFETCH_API_KEY="\n", SOCIALFETCH_API_KEY_FILE=str(kept)),
    ):
        assert found.require_key().get_secret_value() == "sfk_a"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("status", ("status",)),
        (" Stale , status,,", ("status", "stale")),
        ("status,churn,notable,stale,credits", ("status", "churn", "notable", "stale", "credits")),
        ("none", ()),
        ("", ("status", "failed", "drift", "break")),
    ],
)
def test_kinds_of_alerts_are_named_in_any_order(
    monkeypatch: pytest.MonkeyPatch, text: str, kinds: tuple[str, ...]
) -> None:
    assert settings(monkeypatch, SF_ASSETS_ALERTS=text).alerts == kinds


def test_unless_somebody_asks_status_changes_and_failed_days_are_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings(monkeypatch).alerts == ("status", "failed", "drift", "break")


def test_the_heartbeat_goes_to_a_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(
        monkeypatch, SF_ASSETS_HEARTBEAT_URL="https://beat.test/token?x=1"
    ).heartbeat_url
    assert found is not None
    assert found.get_secret_value() == "https://beat.test/token?x=1"
    assert "token" not in repr(found)
    for wrong in ("beat.test/token", "ftp://beat.test/token", "https://", "https://x:token"):
        said = complaint(monkeypatch, SF_ASSETS_HEARTBEAT_URL=wrong)
        assert said.startswith("SF_ASSETS_HEARTBEAT_URL: ")
        assert "token" not in said


@pytest.mark.parametrize("text", ["everything", "status,churns", "none,status", "status churn"])
def test_an_unknown_kind_of_alert_is_told_beside_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    said = complaint(monkeypatch, SF_ASSETS_ALERTS=text)
    assert said.startswith("SF_ASSETS_ALERTS: ")
    assert ", ".join(ALERT_KINDS) in said


def test_the_address_of_the_ui_is_for_links(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).ui_url is None
    found = settings(monkeypatch, SF_ASSETS_UI_URL="https://dagster.example.org/sf/ ")
    assert found.ui_url == "https://dagster.example.org/sf"


@pytest.mark.parametrize(
    "address",
    ["dagster:3000", "ftp://x", "http://u:p@x", "http://x/?a=1", "http://x:port", "http://a b"],
)
def test_what_is_no_address_of_a_ui_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert complaint(monkeypatch, SF_ASSETS_UI_URL=address).startswith("SF_ASSETS_UI_URL: ")
