"""Defaults, file and flags, and the errors of an invalid configuration."""

from pathlib import Path
from typing import Any

import pytest

from exporter.config.settings import Config, load, parse_config
from exporter.errors import ConfigError


def a_file(directory: Path, text: str) -> str:
    path = directory / "config.yaml"
    path.write_text(text)
    return str(path)


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode(), "config.yaml")
    return str(caught.value)


class TestLoad:
    """Defaults < file < flags."""

    def test_without_file_and_flags_all_are_defaults(self) -> None:
        config = load(None, {})

        assert config == Config()
        assert config.sysctls.profile == "default"
        assert config.sysctls.include == config.sysctls.exclude == ()
        assert config.sysctls.max_fds == 65536
        assert (config.path.procfs, config.path.rootfs) == ("/proc", "/")
        assert config.web.listen_address == (":10128",)
        assert (config.log.level, config.log.format) == ("info", "logfmt")

    def test_a_file_changes_only_its_keys(self, tmp_path: Path) -> None:
        file = a_file(
            tmp_path,
            "sysctls: {profile: all, exclude: [net.ipv6.*], max_fds: 0}\n"
            "log: {level: debug}\n",
        )

        config = load(file, {})

        assert config.sysctls.profile == "all"
        assert config.sysctls.exclude == ("net.ipv6.*",)
        assert config.sysctls.max_fds == 0
        assert config.sysctls.include == ()
        assert (config.log.level, config.log.format) == ("debug", "logfmt")
        assert (config.path, config.web) == (Config().path, Config().web)

    def test_a_flag_overrides_only_its_own_key(self, tmp_path: Path) -> None:
        file = a_file(
            tmp_path, "log: {level: debug, format: json}\npath: {procfs: /host/proc}\n"
        )

        config = load(file, {"log": {"level": "error"}})

        assert (config.log.level, config.log.format) == ("error", "json")
        assert config.path.procfs == "/host/proc"

    def test_a_flag_does_not_need_a_file(self) -> None:
        config = load(None, {"sysctls": {"include": ("net.mptcp.*",)}})

        assert config.sysctls.include == ("net.mptcp.*",)

    def test_a_missing_file_is_named_with_the_reason(self, tmp_path: Path) -> None:
        file = str(tmp_path / "none.yaml")

        with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory"):
            load(file, {})

    def test_a_directory_is_not_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="Is a directory"):
            load(str(tmp_path), {})


@pytest.mark.parametrize("text", ["", "{}", "{}\n", "log: {}\n"])
def test_an_empty_file_is_the_defaults(text: str) -> None:
    assert parse_config(text.encode(), "config.yaml") == Config()


@pytest.mark.parametrize("text", ["\n", "---\n", "# log: {level: debug}\n"])
def test_a_file_of_comments_only_is_the_defaults(text: str) -> None:
    assert parse_config(text.encode(), "config.yaml") == Config()


class TestMistakes:
    """Every error names the file, the place and the remedy."""

    @pytest.mark.parametrize(
        ("text", "key", "nearest"),
        [
            ("sysctl: {}", "`sysctl`", "sysctls"),
            ("paths: {}", "`paths`", "path"),
            ("web: {listen-address: ':1'}", "`listen-address`", "listen_address"),
        ],
    )
    def test_an_unknown_key_suggests_the_nearest(
        self, text: str, key: str, nearest: str
    ) -> None:
        message = error_of(text)

        assert message.startswith("config.yaml: ")
        assert key in message
        assert message.endswith(f"; did you mean {nearest!r}?")

    @pytest.mark.parametrize(
        ("text", "nearest"),
        [
            ("sysctls: {profle: all}", "profile"),
            ("sysctls: {includes: []}", "include"),
            ("log: {lvl: info}", "level"),
            ("path: {procf: /proc}", "procfs"),
        ],
    )
    def test_an_unknown_key_of_a_section_suggests_the_nearest(
        self, text: str, nearest: str
    ) -> None:
        assert error_of(text).endswith(f"; did you mean {nearest!r}?")

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("log: {colour: true}", "`$.log`"),
            ("sysctls: {max_fds: many}", "`$.sysctls.max_fds`"),
            ("sysctls: {max_fds: -1}", "`$.sysctls.max_fds`"),
            ("sysctls: {max_fds: 1.5}", "`$.sysctls.max_fds`"),
            ("sysctls: {max_fds: true}", "`$.sysctls.max_fds`"),
            ("sysctls: {include: net.core.*}", "`$.sysctls.include`"),
            ("sysctls: {include: [1]}", "`$.sysctls.include[0]`"),
            ("sysctls: {profile: most}", "`$.sysctls.profile`"),
            ("web: {listen_address: 10128}", "`$.web.listen_address`"),
            ("log: {level: loud}", "`$.log.level`"),
            ("log: {level: }", "`$.log.level`"),
            ("path: /proc", "`$.path`"),
            ("sysctls:", "`$.sysctls`"),
        ],
    )
    def test_an_invalid_value_is_named_with_its_place(
        self, text: str, place: str
    ) -> None:
        message = error_of(text)

        assert message.startswith("config.yaml: ")
        assert f"at {place}" in message

    @pytest.mark.parametrize(
        "text",
        [
            "log: [",
            "log: {",
            "\t",
            "a: b: c",
            "log: !!python/object:os.system {}",
            "\0",
            "just words",
            "- a\n- list\n",
            "? [a]\n: b",
        ],
        ids=ascii,
    )
    def test_a_file_that_is_not_a_mapping_is_an_error(self, text: str) -> None:
        assert error_of(text).startswith("config.yaml: ")

    def test_bytes_that_are_not_text_are_an_error(self) -> None:
        with pytest.raises(ConfigError):
            parse_config(b"log: \xff\xfe", "config.yaml")

    @pytest.mark.parametrize("text", ["log: {level: 2020-13-45}", "log: !!int x"])
    def test_an_invalid_yaml_scalar_is_an_error(self, text: str) -> None:
        assert error_of(text).startswith("config.yaml: ")


@pytest.mark.parametrize("text", ["a: !!bool x", "a: !!int ''", "a: !!timestamp x"])
def test_text_that_makes_yaml_raise_is_an_error(text: str) -> None:
    assert "not YAML" in error_of(text)


def test_one_address_needs_no_list() -> None:
    web = parse_config(b"web: {listen_address: ':9'}", "config.yaml").web

    assert web.addresses == (":9",)
    assert Config().web.addresses == (":10128",)


def test_every_flag_has_its_key_in_the_file(tmp_path: Path) -> None:
    flags: dict[str, dict[str, Any]] = {
        "sysctls": {
            "profile": "all",
            "include": ("a",),
            "exclude": ("b",),
            "max_fds": 1,
        },
        "path": {"procfs": "/p", "rootfs": "/r"},
        "web": {"listen_address": (":1", "unix:/w")},
        "log": {"level": "error", "format": "json"},
    }
    file = a_file(
        tmp_path,
        "sysctls: {profile: all, include: [a], exclude: [b], max_fds: 1}\n"
        "path: {procfs: /p, rootfs: /r}\n"
        "web: {listen_address: [':1', 'unix:/w']}\n"
        "log: {level: error, format: json}\n",
    )

    assert load(None, flags) == load(file, {}) != Config()
