"""The settings file: defaults and documentation."""

import re
from pathlib import Path

import msgspec
import pytest

from mixin.settings import AlertOverride, Settings, SettingsError, parse_settings

README = (Path(__file__).parents[2] / "dashboards/README.md").read_text()


def test_an_empty_file_gives_the_defaults() -> None:
    assert parse_settings(b"", "a") == Settings()


def test_a_file_without_a_mapping_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"^a: "):
        parse_settings(b"[]", "a")


def test_every_setting_is_documented() -> None:
    for struct in (Settings, AlertOverride):
        for field in msgspec.structs.fields(struct):
            row = rf"^\| `(alerts\.NAME\.)?{field.encode_name}` \|"
            assert re.search(row, README, re.MULTILINE), field.name


def test_the_documented_example_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(job: .*?)```", README, re.DOTALL)

    assert parse_settings(example.encode(), "README.md") != Settings()
