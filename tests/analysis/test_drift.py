"""Which differences from the host count, and as what."""

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


def against(
    sysctls: Sequence[Sysctl], host: Sequence[Reading], fresh: Sequence[Reading] = ()
) -> References:
    return References(
        sysctls=tuple(sysctls), host=tuple(host), fresh=tuple(fresh), host_history={}
    )


def held(sysctl: Sysctl, *, host: Reading, here: Reading) -> list[Finding]:
    return list(findings(against([sysctl], [host]), [here], [None]))


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
        against(sysctls, ["1", MISSING, "cubic"]), ["2", "4096", "bbr"], [None] * 3
    )

    assert list(found) == [Finding(sysctl=CONTROL.name, field="", delta=1, origin=None)]


def test_readings_of_another_catalog_are_refused_not_misaligned() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(findings(against([SOMAXCONN, CONTROL], ["4096"]), ["4096"], [None]))


class TestOrigins:
    """Why a value is what it is: exactly one reason."""

    def why(
        self,
        value: Reading,
        *,
        fresh: Reading | None = "4096",
        declared: Reading | None = None,
        earlier: Iterable[str] = (),
        scope: Class = "constant",
    ) -> Origin | None:
        sysctl = a_sysctl(scope=scope)
        seen = frozenset(earlier)
        return value_origin(
            sysctl, value, fresh=fresh, declared=declared, host_history=seen
        )

    def test_what_a_new_namespace_gets_was_set_by_nobody(self) -> None:
        assert self.why("4096") == "fresh_default"

    def test_a_copy_of_the_host_that_a_new_one_would_get_too_is_inherited(self) -> None:
        assert self.why("4096", scope="inherited") == "inherited"

    @pytest.mark.parametrize("scope", ["inherited", "devconf"])
    def test_a_copy_of_what_the_host_had_is_stale(self, scope: Class) -> None:
        assert self.why("1", earlier=["1"], scope=scope) == "inherited_stale"

    def test_nothing_else_is_copied_from_the_host(self) -> None:
        assert self.why("1", earlier=["1"]) == "modified"

    def test_what_was_asked_for_is_declared_even_if_it_is_the_default(self) -> None:
        assert self.why("4096", declared="4096") == "declared"

    def test_what_was_asked_for_otherwise_is_overridden(self) -> None:
        assert self.why("4096", declared="1024") == "overridden"

    def test_a_declaration_that_no_kernel_would_take_declares_nothing(self) -> None:
        assert self.why("7", declared=MALFORMED) == "modified"

    def test_what_all_share_is_shared_whatever_was_declared(self) -> None:
        assert self.why("1", declared="2", scope="shared") == "shared"

    @pytest.mark.parametrize("fresh", [None, MISSING, DENIED])
    def test_without_a_fresh_one_there_is_nothing_to_tell(
        self, fresh: Reading | None
    ) -> None:
        assert self.why("1", fresh=fresh) is None

    def test_without_a_value_there_is_nothing_to_tell(self) -> None:
        assert self.why(MISSING) is None

    def test_the_first_to_ask_declares_and_who_joins_overrides(self) -> None:
        asked = [
            Declared(sysctl=SOMAXCONN.name, value=value, source="container")
            for value in ("1024", "999")
        ]
        one = against([SOMAXCONN], ["4096"], ["4096"])

        assert namespace_origins(one, ["999"], asked) == ("overridden",)
        assert namespace_origins(one, ["1024"], asked) == ("declared",)

    def test_a_declared_range_is_compared_as_the_kernel_shows_it(self) -> None:
        ports = a_sysctl("net.ipv4.ip_local_port_range", kind="ints", fields=("a", "b"))
        asked = [Declared(sysctl=ports.name, value="1024\t 65000", source="pod")]
        one = against([ports], ["1 2"], ["32768 60999"])

        assert namespace_origins(one, ["1024 65000"], asked) == ("declared",)


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
def test_there_is_one_origin_at_most_and_it_never_depends_on_order(
    scope: Class,
    value: Reading,
    fresh: Reading | None,
    declared: Reading | None,
    earlier: list[str],
) -> None:
    def asked(seen: Iterable[str]) -> Origin | None:
        return value_origin(
            a_sysctl(scope=scope),
            value,
            fresh=fresh,
            declared=declared,
            host_history=frozenset(seen),
        )

    said = asked(earlier)

    assert said == asked(reversed(earlier))
    if isinstance(value, str) and (
        scope == "shared" or isinstance(fresh, str) or isinstance(declared, str)
    ):
        assert said in ORIGINS
    else:
        assert said is None
