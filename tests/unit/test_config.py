"""Settings: arguments win over the environment, and what can't be is refused with its value."""

from pathlib import Path

import pytest

from turnout.config import Settings
from turnout.errors import ConfigurationError

OPTIONS = {
    "kv_disk_mb": ("TURNOUT_KV_DISK_MB", "250", 250.0, 10.0, 0.0),
    "yarn": ("TURNOUT_YARN", "4", 4.0, 2.0, 1.0),
    "max_file_mb": ("TURNOUT_MAX_FILE_MB", "7.5", 7.5, 9.0, 100.0),
    "passage_tokens": ("TURNOUT_PASSAGE_TOKENS", "400", 400, 250, None),
    "int8": ("TURNOUT_INT8", "1", True, False, None),
    "server_window": ("TURNOUT_SERVER_WINDOW", "32768", 32768, 4096, None),
    "server_takes": (
        "TURNOUT_SERVER_TAKES",
        "cache_salt, choices,",
        frozenset({"cache_salt", "choices"}),
        frozenset(),
        frozenset(),
    ),
    "server_timeout_s": ("TURNOUT_SERVER_TIMEOUT_S", "30", 30.0, 5.0, 600.0),
    "server_retries": ("TURNOUT_SERVER_RETRIES", "5", 5, 0, 2),
    "escalate": ("TURNOUT_ESCALATE", "always", "always", "off", None),
    "cache_namespace": ("TURNOUT_CACHE_NAMESPACE", "acme", "acme", "other", None),
    "attention": ("TURNOUT_ATTENTION", "dense", "dense", "a/file.json", "auto"),
    "soft": ("TURNOUT_SOFT", "mean:4", "mean:4", "a/folder", "mean:2"),
    "ldar": ("TURNOUT_LDAR", "/a/policy", Path("/a/policy"), Path("/another"), None),
    "chunkfree": ("TURNOUT_CHUNKFREE", "/an/adapter", Path("/an/adapter"), Path("/another"), None),
    "cite": ("TURNOUT_CITE", "attention", "attention", "words", "words"),
    "cache_url": ("TURNOUT_CACHE_URL", "redis://a:1", "redis://a:1", "rediss://b:2", None),
    "cache_mb": ("TURNOUT_CACHE_MB", "20", 20.0, 30.0, 512.0),
    "cache_ttl_s": ("TURNOUT_CACHE_TTL_S", "60", 60, 90, 30 * 86_400),
    "cache_required": ("TURNOUT_CACHE_REQUIRED", "1", True, False, False),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_argument_wins_over_the_environment_which_wins_over_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variable, text, value, other, default = OPTIONS[name]
    assert getattr(Settings.load(home=tmp_path), name) == default
    monkeypatch.setenv(variable, text)
    assert getattr(Settings.load(home=tmp_path), name) == value
    assert getattr(Settings.load(home=tmp_path, **{name: other}), name) == other


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TURNOUT_KV_DISK_MB", "lots"),
        ("TURNOUT_KV_DISK_MB", "-1"),
        ("TURNOUT_YARN", "0.5"),
        ("TURNOUT_YARN", "nan"),
        ("TURNOUT_INT8", "yes"),
        ("TURNOUT_PASSAGE_TOKENS", "0"),
        ("TURNOUT_PASSAGE_TOKENS", "2.5"),
        ("TURNOUT_MAX_FILE_MB", "0"),
        ("TURNOUT_CACHE_MB", "0"),
        ("TURNOUT_CACHE_URL", "http"),
        ("TURNOUT_CACHE_TTL_S", "0"),
        ("TURNOUT_CACHE_REQUIRED", "maybe"),
        ("TURNOUT_SERVER_WINDOW", "-5"),
        ("TURNOUT_SERVER_TAKES", "cache-salt"),
        ("TURNOUT_SERVER_TIMEOUT_S", "0"),
        ("TURNOUT_SERVER_TIMEOUT_S", "soon"),
        ("TURNOUT_SERVER_RETRIES", "-1"),
        ("TURNOUT_CITE", "atention"),
        ("TURNOUT_ESCALATE", "sometimes"),
    ],
)
def test_what_can_not_be_is_refused_with_its_value(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match=text.lstrip("-")) as caught:
        Settings.load(home=tmp_path)
    assert caught.value.hint


def test_what_a_server_takes_may_be_named_in_one_text(tmp_path: Path) -> None:
    found = Settings.load(home=tmp_path, server_takes="choices,cache_salt").server_takes
    assert found == Settings.load(home=tmp_path, server_takes=["cache_salt", "choices"]).server_takes
    assert Settings.load(home=tmp_path, server_takes="").server_takes == frozenset()
