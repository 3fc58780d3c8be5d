"""Namespaces are reduced where all of their series would exceed the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition import series_limit
from exporter.exposition.renderer import SERVER_SERIES, Renderer
from exporter.exposition.series_limit import ExportLevel, SeriesCount, allocate
from exporter.model import EncodedSnapshot, Owner
from testing.running import Exposition
from tests.support.builders import a_netns, an_owner
from tests.support.expositions import (
    SOMAXCONN,
    TEXT,
    a_full_node,
    a_pod,
    exposition,
    render,
)

WHOLE, SUMMARY, NOTHING = ExportLevel

OWNERS = st.sampled_from(
    [
        Owner(kind="host", netns="host"),
        an_owner(),
        an_owner("container", container="web", pod="", namespace="", uid=""),
        an_owner("named", netns="named/blue", pod="", namespace="", uid=""),
        an_owner("process", netns="cookie/7", pod="", namespace="", uid=""),
        an_owner(netns="cookie/8"),
    ]
)
COUNTS = st.builds(
    lambda summary, more: SeriesCount(summary + more, summary),
    st.integers(0, 20),
    st.integers(0, 200),
)


def a_process(number: int) -> Owner:
    return an_owner("process", pod="", namespace="", uid="", netns=f"cookie/{number}")


class TestAllocate:
    @given(st.lists(st.tuples(OWNERS, COUNTS), max_size=30), st.integers(-10, 4000))
    def test_the_limit_is_never_exceeded_and_all_is_exported_where_it_fits(
        self, namespaces: list[tuple[Owner, SeriesCount]], limit: int
    ) -> None:
        counts = [count for _, count in namespaces]

        levels = allocate([owner for owner, _ in namespaces], counts, limit)

        exported = sum(
            count.whole if level is WHOLE else count.summary
            for count, level in zip(counts, levels, strict=True)
            if level is not NOTHING
        )
        assert exported <= max(limit, 0)
        if sum(count.whole for count in counts) <= limit:
            assert set(levels) <= {WHOLE}

    def test_nothing_is_ranked_where_everything_just_fits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(series_limit, "_by_rank", pytest.fail)

        assert allocate([an_owner()] * 3, [SeriesCount(10, 2)] * 3, 30) == [WHOLE] * 3

    def test_among_equals_every_summary_comes_before_any_whole(self) -> None:
        owners = [an_owner(pod=f"web-{number}") for number in range(3)]
        counts = [SeriesCount(10, 2)] * 3

        assert allocate(owners, counts, 6) == [SUMMARY] * 3
        assert allocate(owners, counts, 14) == [WHOLE, SUMMARY, SUMMARY]

    def test_the_least_important_and_youngest_are_left_out_first(self) -> None:
        processes = map(a_process, range(3))
        secondary = an_owner(netns="cookie/9")
        named = an_owner("named", pod="", netns="named/blue")
        host = Owner(kind="host", netns="host")
        owners = [host, *processes, secondary, named, an_owner()]

        levels = allocate(owners, [SeriesCount(10, 10)] * 7, 40)

        assert levels == [WHOLE, WHOLE, NOTHING, NOTHING, NOTHING, WHOLE, WHOLE]

    def test_the_whole_of_a_pod_comes_before_summaries_of_processes(self) -> None:
        owners = [*map(a_process, range(3)), an_owner()]

        levels = allocate(owners, [SeriesCount(10, 2)] * 4, 14)

        assert levels == [SUMMARY, SUMMARY, NOTHING, WHOLE]


def crowd(processes: int) -> EncodedSnapshot:
    """Return a node with a pod that is younger than the namespaces of *processes*."""
    older = (
        a_pod(netns=a_netns(100 + number), owner=a_process(number))
        for number in range(processes)
    )
    return a_full_node(*older, a_pod("128", "1 2", "cubic"))


class TestLimit:
    @pytest.mark.parametrize("limit", [300, 500, 800])
    def test_the_limit_holds_and_reduced_namespaces_are_counted(
        self, limit: int
    ) -> None:
        found = exposition(crowd(40), max_series=limit)

        assert len(found.series) <= limit - SERVER_SERIES + 2
        assert found.value("netns_exporter_series_limit") == limit
        reduced = "netns_exporter_namespaces_reduced"
        summary = found.value(reduced, to="summary")
        nothing = found.value(reduced, to="nothing")
        assert summary is not None
        assert nothing is not None
        assert len(found.samples("netns_info")) == 42 - nothing
        whole = len(found.samples("netns_sysctl_text_info"))
        assert whole == 42 - nothing - summary
        assert nothing + summary > 0

    def test_neither_the_host_nor_a_pod_is_reduced_for_a_crowd(self) -> None:
        found = exposition(crowd(40), max_series=300)

        assert found.value("netns_sysctl_value", pod="web-0", sysctl=SOMAXCONN) == 128
        assert found.value("netns_listener_queue", pod="web-0") is not None
        value = found.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert value == 65535

    def test_a_summary_has_the_series_of_that_detail(self) -> None:
        limited = exposition(crowd(40), max_series=500)
        summary = exposition(crowd(40), "summary")

        exported = netns_of(limited, "netns_info")
        reduced = exported - netns_of(limited, "netns_sysctl_text_info")
        assert reduced
        for (name, labels), value in summary.series.items():
            if dict(labels).get("netns") in reduced:
                assert limited.series[name, labels] == value

    def test_all_is_exported_again_once_it_fits(self) -> None:
        renderer = Renderer("1.2.3", max_series=500)

        render(renderer, crowd(40))
        reduced = renderer.reduced_namespaces
        again = Exposition(render(renderer, crowd(1)).decode())

        assert reduced > 0
        assert renderer.reduced_namespaces == 0
        assert again.series == exposition(crowd(1), max_series=500).series

    def test_chunks_of_reduced_namespaces_are_kept(self) -> None:
        renderer = Renderer("1", max_series=500)
        renderer.render(crowd(40))
        before = renderer.exposition(TEXT)

        renderer.render(crowd(40))

        now = renderer.exposition(TEXT)
        assert all(a is b for a, b in zip(now, before, strict=True))

    def test_without_a_limit_nothing_is_reduced(self) -> None:
        found = exposition(crowd(40))

        assert not found.samples("netns_exporter_series_limit")
        assert found.value("netns_exporter_namespaces_reduced", to="summary") == 0
        assert found.value("netns_exporter_namespaces_reduced", to="nothing") == 0


def netns_of(found: Exposition, metric: str) -> set[str]:
    return {dict(labels).get("netns", "") for labels in found.samples(metric)} - {""}
