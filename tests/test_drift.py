"""Which differences from the host count, and as what."""

from collections.abc import Sequence

import pytest

from exporter.drift import Finding, References, findings
from exporter.model import Reading, Sysctl
from exporter.values import DENIED, FAILED, MALFORMED, MISSING
from tests.builders import a_sysctl

SOMAXCONN = a_sysctl("net.core.somaxconn")
RMEM = a_sysctl("net.ipv4.tcp_rmem", kind="ints", fields=("min", "default", "max"))
CONTROL = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
PORTS = a_sysctl("net.ipv4.ip_local_reserved_ports", kind="ranges")
HASH = a_sysctl("net.ipv4.tcp_ehash_entries", comparable=False)


def against(
    sysctls: Sequence[Sysctl], host: Sequence[Reading], fresh: Sequence[Reading] = ()
) -> References:
    return References(
        sysctls=tuple(sysctls), host=tuple(host), fresh=tuple(fresh), earlier={}
    )


def held(sysctl: Sysctl, *, host: Reading, here: Reading) -> list[Finding]:
    return list(findings(against([sysctl], [host]), [here], []))


def test_a_pod_that_kept_the_kernel_default_has_drifted_from_a_tuned_host() -> None:
    (finding,) = held(SOMAXCONN, host="65535", here="4096")

    assert finding == Finding(
        sysctl="net.core.somaxconn", field="", delta=-61439, origin=None
    )


@pytest.mark.parametrize(
    ("host", "here", "delta"),
    [
        ("4096", "4096", 0),
        ("4096", "65535", 61439),
        ("1", "-1", -2),
        ("0", "18446744073709551615", 2**64 - 1),
    ],
)
def test_drift_is_value_minus_host_value(host: str, here: str, delta: int) -> None:
    (finding,) = held(SOMAXCONN, host=host, here=here)

    assert finding.delta == delta


def test_a_vector_drifts_field_by_field() -> None:
    found = held(RMEM, host="4096 131072 6291456", here="4096 87380 67108864")

    assert [(f.field, f.delta) for f in found] == [
        ("min", 0),
        ("default", -43692),
        ("max", 60817408),
    ]


@pytest.mark.parametrize(("here", "delta"), [("cubic", 0), ("bbr", 1), ("", 1)])
def test_text_is_equal_or_different(here: str, delta: int) -> None:
    (finding,) = held(CONTROL, host="cubic", here=here)

    assert finding == Finding(sysctl=CONTROL.name, field="", delta=delta, origin=None)


def test_a_bitmap_drifts_by_how_many_it_names() -> None:
    (finding,) = held(PORTS, host="4", here="1")

    assert finding.delta == -3


@pytest.mark.parametrize("reason", [MISSING, DENIED, FAILED, MALFORMED], ids=repr)
@pytest.mark.parametrize("sysctl", [SOMAXCONN, RMEM, CONTROL], ids=lambda s: s.kind)
def test_what_one_side_could_not_read_is_no_drift(
    sysctl: Sysctl, reason: Reading
) -> None:
    assert held(sysctl, host=reason, here="1 2 3") == []
    assert held(sysctl, host="1 2 3", here=reason) == []
    assert held(sysctl, host=reason, here=reason) == []


def test_a_sysctl_whose_difference_means_nothing_is_left_out() -> None:
    assert held(HASH, host="524288", here="65536") == []


def test_what_is_left_out_costs_its_neighbours_nothing() -> None:
    sysctls = [HASH, SOMAXCONN, CONTROL]

    found = findings(
        against(sysctls, ["1", MISSING, "cubic"]), ["2", "4096", "bbr"], []
    )

    assert list(found) == [Finding(sysctl=CONTROL.name, field="", delta=1, origin=None)]


def test_readings_of_another_catalog_are_refused_not_misaligned() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(findings(against([SOMAXCONN, CONTROL], ["4096"]), ["4096"], []))
