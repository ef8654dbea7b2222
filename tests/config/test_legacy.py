"""The older monitor's config.json says here what it said there."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetpulse import config
from fleetpulse.errors import ConfigError

DOCUMENTED = """\ufeff{
    "websocket_url": "ws://localhost:8000/ws/chat",  // 目标WebSocket地址
    "web_port": 8011,                                // Web界面端口
    "reconnect_interval": 5,                         // 重连间隔（秒）
    "max_reconnect_attempts": 10,                    // 最大重连次数
    "database_path": "data/chat_monitor.db",         /* 数据库
                                                        文件路径 */
    "log_level": "INFO",                             // 日志级别
    "enable_notifications": false,                   // 是否启用通知
    "notification_keywords": ["重要", "紧急 // \\"/* x"], // 通知关键词
    "max_messages_in_memory": 1000,                  // 内存中最大消息数
    "auto_backup_hours": 24,                         // 自动备份间隔
    "web_refresh_interval": 5                        // Web界面刷新间隔
}"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in use as this process's configuration."""
    path = tmp_path / "config.json"
    path.write_text(DOCUMENTED, "utf-8")
    monkeypatch.setenv("FLEETPULSE_CONFIG", str(path))
    return path


def with_keys(file: Path, **keys: Any) -> config.Settings:
    file.write_text(json.dumps({"websocket_url": "wss://chat.example.org/ws"} | keys))
    return config.load()


def test_every_key_of_the_documented_file_has_its_meaning(file: Path) -> None:
    settings = config.load()
    (stream,) = settings.tap.streams
    assert (stream.name, stream.url, stream.allow_private) == ("main", "ws://localhost:8000/ws/chat", True)
    assert (stream.reconnect.base_seconds, stream.reconnect.max_attempts) == (5.0, 10)
    (rule,) = settings.tap.rules
    assert (rule.name, rule.keywords, rule.alert) == ("keywords", ("重要", '紧急 // "/* x'), False)
    assert (settings.port, settings.data_dir, settings.log_level) == (8011, Path("data"), "info")
    assert settings.backup.hours == 24.0
    assert len(config.notes()) == 5
    assert config.convert(file).notes == config.notes()


def test_what_it_leaves_out_keeps_its_default(file: Path) -> None:
    settings = with_keys(file)
    plain = config.Settings.model_fields["port"].default
    assert (settings.port, settings.tap.rules, settings.backup) == (plain, (), config.load().backup)
    assert not settings.tap.streams[0].allow_private
    assert config.notes() == ()


def test_notifications_that_are_on_alert(file: Path) -> None:
    assert with_keys(file, enable_notifications=True, notification_keywords=["重要"]).tap.rules[0].alert
    assert config.notes() == ()
    assert with_keys(file, enable_notifications=True, notification_keywords=[]).tap.rules == ()


def test_a_long_interval_is_not_capped(file: Path) -> None:
    reconnect = with_keys(file, reconnect_interval=300).tap.streams[0].reconnect
    assert (reconnect.base_seconds, reconnect.cap_seconds) == (300.0, 300.0)


@pytest.mark.parametrize(("written", "level"), [("WARN", "warning"), ("Debug", "debug"), ("CRITICAL", "error")])
def test_levels_are_those_of_logging(file: Path, written: str, level: str) -> None:
    assert with_keys(file, log_level=written).log_level == level


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("ws://127.0.0.1/x", True),
        ("ws://[::1]:9/x", True),
        ("ws://10.0.0.7/x", True),
        ("ws://app.localhost/x", True),
        ("ws://8.8.8.8/x", False),
        ("ws://localhost.example.org/x", False),
    ],
)
def test_a_private_address_is_allowed_where_it_is_written(file: Path, url: str, *, private: bool) -> None:
    assert with_keys(file, websocket_url=url).tap.streams[0].allow_private is private


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"web_prot": 8001}, "web_prot: is no key of config.json"),
        ({"tap": {}}, "tap: is no key of config.json"),
        ({"web_port": 99_999}, "web_port: Input should be less than 65536"),
        ({"reconnect_interval": 0}, "reconnect_interval: "),
        ({"websocket_url": "http://x"}, "websocket_url: is not an address such as wss"),
        ({"websocket_url": "ws://u:hush@x/"}, "websocket_url: holds credentials"),
        ({"log_level": "LOUD"}, "log_level: "),
    ],
)
def test_what_is_wrong_is_named_by_its_key(file: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_keys(file, **keys)
    assert words in error.value.detail
    assert "hush" not in error.value.detail


@pytest.mark.parametrize("text", ["", "[1]", '{"web_port": 1,}', '{"web_port": 1} //', "\x00"])
def test_what_is_no_json_is_said(file: Path, text: str) -> None:
    file.write_text(text)
    if text.endswith("//"):
        assert config.load().port == 1
    else:
        with pytest.raises(ConfigError, match=r"cannot be read as JSON|holds no JSON object"):
            config.load()


def test_a_json_file_with_settings_of_fleetpulse_is_one_of_its_own(file: Path) -> None:
    file.write_text(json.dumps({"port": 9_000, "log_level": "debug"}))
    assert (config.load().port, config.load().log_level, config.notes()) == (9_000, "debug", ())


def test_the_environment_wins_over_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETPULSE_PORT", "9001")
    monkeypatch.setenv("FLEETPULSE_TAP__URL", "wss://other.example.org/ws")
    settings = config.load()
    assert (settings.port, settings.tap.streams[0].url) == (9_001, "wss://other.example.org/ws")
    assert settings.tap.streams[0].reconnect.max_attempts == 10
    assert file.is_file()


def test_the_converted_file_means_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = config.load()
    own = file.with_name("fleetpulse.yaml")
    own.write_text(yaml.safe_dump(config.convert(file).settings, allow_unicode=True), "utf-8")
    monkeypatch.setenv("FLEETPULSE_CONFIG", str(own))
    assert config.load() == before
