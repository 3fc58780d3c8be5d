"""Values are compared with the references, and their origins derived."""

from collections.abc import Iterable, Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analysis.drift import (
    Finding,
    References,
    findings,
    namespace_origins,
    value_origin,
)
from exporter.model import Class, Declared, Origin, Reading, Sysctl
from exporter.values import DENIED, FAILED, MALFORMED, MISSING
from tests.support.builders import a_sysctl

SOMAXCONN = a_sysctl("net.core.somaxconn")
RMEM = a_sysctl("net.ipv4.tcp_rmem", kind="ints", fields=("min", "default", "max"))
CONTROL = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
PORTS = a_sysctl("net.ipv4.ip_local_reserved_ports", kind="ranges")
HASH = a_sysctl("net.ipv4.tcp_ehash_entries", comparable=False)


def references_of(
    sysctls: Sequence[Sysctl], host: Sequence[Reading], fresh: Sequence[Reading] = ()
) -> References:
    return References(
        sysctls=tuple(sysctls), host=tuple(host), fresh=tuple(fresh), host_history={}
    )


def compared(sysctl: Sysctl, *, host: Reading, here: Reading) -> list[Finding]:
    return list(findings(references_of([sysctl], [host]), [here], [None]))


def test_a_pod_with_the_kernel_default_drifts_from_a_tuned_host() -> None:
    (finding,) = compared(SOMAXCONN, host="65535", here="4096")

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
    (finding,) = compared(SOMAXCONN, host=host, here=here)

    assert finding.delta == delta


def test_a_vector_drifts_field_by_field() -> None:
    found = compared(RMEM, host="4096 131072 6291456", here="4096 87380 67108864")

    assert [(f.field, f.delta) for f in found] == [
        ("min", 0),
        ("default", -43692),
        ("max", 60817408),
    ]


@pytest.mark.parametrize(("here", "delta"), [("cubic", 0), ("bbr", 1), ("", 1)])
def test_text_is_equal_or_different(here: str, delta: int) -> None:
    (finding,) = compared(CONTROL, host="cubic", here=here)

    assert finding == Finding(sysctl=CONTROL.name, field="", delta=delta, origin=None)


def test_a_bitmap_drifts_by_its_count() -> None:
    (finding,) = compared(PORTS, host="4", here="1")

    assert finding.delta == -3


@pytest.mark.parametrize("reason", [MISSING, DENIED, FAILED, MALFORMED], ids=repr)
@pytest.mark.parametrize("sysctl", [SOMAXCONN, RMEM, CONTROL], ids=lambda s: s.kind)
def test_a_value_unreadable_on_one_side_has_no_finding(
    sysctl: Sysctl, reason: Reading
) -> None:
    assert compared(sysctl, host=reason, here="1 2 3") == []
    assert compared(sysctl, host="1 2 3", here=reason) == []
    assert compared(sysctl, host=reason, here=reason) == []


def test_a_sysctl_whose_difference_has_no_meaning_is_skipped() -> None:
    assert compared(HASH, host="524288", here="65536") == []


def test_skipped_sysctls_do_not_shift_their_neighbors() -> None:
    sysctls = [HASH, SOMAXCONN, CONTROL]

    found = findings(
        references_of(sysctls, ["1", MISSING, "cubic"]),
        ["2", "4096", "bbr"],
        [None] * 3,
    )

    assert list(found) == [Finding(sysctl=CONTROL.name, field="", delta=1, origin=None)]


def test_readings_of_another_catalog_raise_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(findings(references_of([SOMAXCONN, CONTROL], ["4096"]), ["4096"], [None]))


class TestOrigins:
    """The reason for a value: exactly one."""

    def origin(
        self,
        value: Reading,
        *,
        fresh: Reading | None = "4096",
        declared: Reading | None = None,
        earlier: Iterable[str] = (),
        scope: Class = "constant",
    ) -> Origin | None:
        sysctl = a_sysctl(class_=scope)
        return value_origin(
            sysctl,
            value,
            fresh=fresh,
            declared=declared,
            host_history=frozenset(earlier),
        )

    def test_the_value_of_a_new_namespace_is_the_default(self) -> None:
        assert self.origin("4096") == "fresh_default"

    def test_a_copy_that_a_new_namespace_would_get_too_is_inherited(self) -> None:
        assert self.origin("4096", scope="inherited") == "inherited"

    @pytest.mark.parametrize("scope", ["inherited", "devconf"])
    def test_a_copy_of_an_earlier_host_value_is_stale(self, scope: Class) -> None:
        assert self.origin("1", earlier=["1"], scope=scope) == "inherited_stale"

    def test_only_inherited_classes_can_be_stale(self) -> None:
        assert self.origin("1", earlier=["1"]) == "modified"

    def test_a_declared_value_is_declared_even_if_it_is_the_default(self) -> None:
        assert self.origin("4096", declared="4096") == "declared"

    def test_a_value_declared_differently_is_overridden(self) -> None:
        assert self.origin("4096", declared="1024") == "overridden"

    def test_a_malformed_declaration_is_ignored(self) -> None:
        assert self.origin("7", declared=MALFORMED) == "modified"

    def test_a_shared_sysctl_is_shared_even_if_declared(self) -> None:
        assert self.origin("1", declared="2", scope="shared") == "shared"

    @pytest.mark.parametrize("fresh", [None, MISSING, DENIED])
    def test_without_a_fresh_value_the_origin_is_unknown(
        self, fresh: Reading | None
    ) -> None:
        assert self.origin("1", fresh=fresh) is None

    def test_without_a_value_there_is_no_origin(self) -> None:
        assert self.origin(MISSING) is None

    def test_the_first_declaration_counts_and_a_later_one_overrides(self) -> None:
        declared = [
            Declared(sysctl=SOMAXCONN.name, value=value, source="container")
            for value in ("1024", "999")
        ]
        references = references_of([SOMAXCONN], ["4096"], ["4096"])

        assert namespace_origins(references, ["999"], declared) == ("overridden",)
        assert namespace_origins(references, ["1024"], declared) == ("declared",)

    def test_a_declared_range_is_compared_as_the_kernel_shows_it(self) -> None:
        ports = a_sysctl("net.ipv4.ip_local_port_range", kind="ints", fields=("a", "b"))
        declared = [Declared(sysctl=ports.name, value="1024\t 65000", source="pod")]
        references = references_of([ports], ["1 2"], ["32768 60999"])

        assert namespace_origins(references, ["1024 65000"], declared) == ("declared",)


VALUES = st.sampled_from(["0", "1", "128", "4096"])
READINGS = VALUES | st.sampled_from([MISSING, DENIED, FAILED, MALFORMED])
ORIGINS = set(get_args(Origin))


@given(
    st.sampled_from(get_args(Class)),
    READINGS,
    st.none() | READINGS,
    st.none() | READINGS,
    st.lists(VALUES, max_size=5),
)
def test_there_is_at_most_one_origin_whatever_the_order_of_the_history(
    scope: Class,
    value: Reading,
    fresh: Reading | None,
    declared: Reading | None,
    earlier: list[str],
) -> None:
    def origin(history: Iterable[str]) -> Origin | None:
        return value_origin(
            a_sysctl(class_=scope),
            value,
            fresh=fresh,
            declared=declared,
            host_history=frozenset(history),
        )

    found = origin(earlier)

    assert found == origin(reversed(earlier))
    if isinstance(value, str) and (
        scope == "shared" or isinstance(fresh, str) or isinstance(declared, str)
    ):
        assert found in ORIGINS
    else:
        assert found is None
