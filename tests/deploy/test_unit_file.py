"""The unit files, checked by systemd-analyze, without a running systemd."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from exporter import catalog
from exporter.config.settings import Config, load
from exporter.privsep.privileges import COLLECTOR_CAPABILITIES

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy/systemd"
NAME = "netns-sysctl-exporter"
SERVICE = UNITS / f"{NAME}.service"
DOCS = ROOT / "docs/install/host.md"

EXPOSURE = 33
"""Exposure level out of 100, by the systemd 252 of Debian 12; lower is better."""

_CAPABILITIES = {"DAC_READ_SEARCH": 2, "SYS_PTRACE": 19, "SYS_ADMIN": 21}


def settings(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text().splitlines()
    return [(m[1], m[2]) for line in lines if (m := re.match(r"(\w+)=(.*)", line))]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    command = ("systemd-analyze", *arguments)
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_its_exposure_is_as_documented() -> None:
    threshold = f"--threshold={EXPOSURE}"

    done = analyze("security", "--offline=yes", "--no-pager", threshold, SERVICE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{EXPOSURE / 10}" in DOCS.read_text()


@pytest.mark.parametrize("unit", [f"{NAME}.service", f"{NAME}.socket"])
def test_systemd_accepts_every_line(tmp_path: Path, unit: str) -> None:
    for name in (f"{NAME}.service", f"{NAME}.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(
            re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text)
        )

    done = analyze("verify", "--man=no", tmp_path / unit)

    errors = [line for line in done.stderr.splitlines() if NAME in line]
    assert not errors


def test_the_capabilities_are_the_collectors_and_those_to_drop_privileges() -> None:
    capabilities = " ".join(
        v for k, v in settings(SERVICE) if k == "CapabilityBoundingSet"
    )
    names = {name.removeprefix("CAP_") for name in capabilities.split()}

    assert names == {*_CAPABILITIES, "SETUID", "SETGID", "SETPCAP"}
    assert (
        sum(1 << number for number in _CAPABILITIES.values()) == COLLECTOR_CAPABILITIES
    )
    assert "AmbientCapabilities" not in dict(settings(SERVICE))


@pytest.mark.parametrize(
    "name",
    [
        *("PrivateNetwork", "PrivateUsers", "ProcSubset", "ProtectProc"),
        *("RestrictSUIDSGID", "DynamicUser"),
    ],
)
def test_settings_that_would_hide_namespaces_are_documented_and_not_set(
    name: str,
) -> None:
    assert name not in dict(settings(SERVICE))
    assert f"# {name}=" in SERVICE.read_text()
    assert f"`{name}=" in DOCS.read_text()


def test_every_setting_of_the_sandbox_is_documented() -> None:
    text = SERVICE.read_text()
    sandbox = text[text.index("LimitNOFILE=") : text.index("# Never set")]
    names = set(re.findall(r"^(\w+)=", sandbox, re.MULTILINE))

    assert {name for name in names if f"`{name}=" not in DOCS.read_text()} == set()


def test_the_file_limit_suffices_for_a_thousand_namespaces() -> None:
    default = [entry for entry in catalog.load() if entry.profile == "default"]

    limit = int(dict(settings(SERVICE))["LimitNOFILE"])

    assert limit - 256 > 1000 * len(default)


def test_the_example_configuration_has_the_defaults() -> None:
    assert load(str(UNITS / "config.yaml"), {}) == msgspec.convert({}, Config)


def test_the_socket_unit_listens_on_the_default_address() -> None:
    unit = configparser.ConfigParser()
    unit.read(UNITS / f"{NAME}.socket")

    assert [f":{unit['Socket']['ListenStream']}"] == list(Config().web.addresses)
