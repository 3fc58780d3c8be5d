"""How much of each namespace is exported: by choice, and where there is no room."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition import series_limit
from exporter.exposition.metrics import COUNTER_METRICS, METRICS
from exporter.exposition.renderer import SERVER_SERIES, Renderer
from exporter.exposition.series_limit import ExportLevel, SeriesCount, allocate
from exporter.model import Declared, Detail, EncodedSnapshot, Namespace, Owner
from exporter.values import DENIED, MISSING
from testing.running import Exposition
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_rule,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)

TEXT = "text/plain; version=0.0.4"
SOMAXCONN = "net.core.somaxconn"
RANGE = "net.ipv4.ip_local_port_range"
CONGESTION = "net.ipv4.tcp_congestion_control"
SYSCTLS = (
    a_sysctl(),
    a_sysctl(RANGE, kind="ints", fields=("low", "high")),
    a_sysctl(CONGESTION, kind="text", scope="inherited"),
)
HOST = ("4096", "1024 65535", "bbr")
COUNTERS = ("TcpExt.ListenOverflows", "TcpExt.TCPRcvQDrop", "Tcp.ActiveOpens")
DETAILS = get_args(Detail)


def page(
    parcel: EncodedSnapshot, detail: Detail = "full", max_series: int = 0
) -> Exposition:
    return shown(Renderer("1", detail, max_series), parcel)


def shown(renderer: Renderer, parcel: EncodedSnapshot) -> Exposition:
    renderer.render(parcel)
    return Exposition(b"".join(one.plain for one in renderer.exposition(TEXT)).decode())


def node(*others: Namespace, host: tuple[str, ...] = HOST) -> EncodedSnapshot:
    """Return a node on which a new namespace gets what the host has."""
    every = (the_hosts_namespace(readings=host), *others)
    return an_encoded_snapshot(
        *every,
        sysctls=SYSCTLS,
        fresh=HOST,
        counters=COUNTERS,
        signals=[some_signals(a_listener(), counters=(1, 2, 3)) for _ in every],
        policy=[a_rule()],
    )


def web(*readings: str, at: int = 0, **more: object) -> Namespace:
    """Return the namespace of a pod of its own, web-*at*."""
    given = {"netns": a_netns(7 + at), "owner": an_owner(pod=f"web-{at}"), **more}
    return a_namespace(readings=readings or HOST, **given)  # type: ignore[arg-type]


def asked(value: str) -> Declared:
    return Declared(sysctl=SOMAXCONN, value=value, source="pod")


class TestChoice:
    @pytest.mark.parametrize("detail", DETAILS)
    def test_a_detail_has_the_metrics_that_say_so_and_no_others(
        self, detail: Detail
    ) -> None:
        parcel = node(web("128", "1 2", "cubic", declared=[asked("128")]))
        every, some = page(parcel).series, page(parcel, detail).series

        specs = {spec.name: spec for spec in METRICS}
        names = {name for name, _ in every if specs[name].is_exported(detail)}
        assert names == {name for name, _ in some}
        assert page(parcel, detail).value("netns_exporter_detail_info", detail=detail)

    @pytest.mark.parametrize("detail", DETAILS)
    def test_less_detail_is_a_part_of_the_whole(self, detail: Detail) -> None:
        parcel = node(web("128", "1 2", "cubic"), web(at=1))
        whole, part = page(parcel).series, page(parcel, detail).series

        own = {"netns_exporter_detail_info"}
        assert part.items() - whole.items() == {
            (key, 1.0) for key in part if key[0] in own and detail != "full"
        }

    def test_each_detail_has_less(self) -> None:
        parcel = node(web("128", "1 2", "cubic"))

        full, drift, summary = (len(page(parcel, one).series) for one in DETAILS)
        assert full > drift > summary

    def test_a_value_that_is_just_the_default_is_not_told(self) -> None:
        one = page(node(web("128", "1024 65535", "bbr")), "drift")

        assert one.value("netns_sysctl_value", pod="web-0", sysctl=SOMAXCONN) == 128
        assert one.value("netns_sysctl_drift", pod="web-0", sysctl=SOMAXCONN) == -3968
        for other in (RANGE, CONGESTION):
            assert not one.samples("netns_sysctl_value", pod="web-0", sysctl=other)
            assert not one.samples("netns_sysctl_drift", pod="web-0", sysctl=other)
            assert not one.samples("netns_sysctl_text_info", pod="web-0", sysctl=other)

    def test_all_fields_of_one_that_differs_are_told(self) -> None:
        one = page(node(web("4096", "2048 65535", "bbr")), "drift")

        assert len(one.samples("netns_sysctl_value", pod="web-0", sysctl=RANGE)) == 2
        assert len(one.samples("netns_sysctl_drift", pod="web-0", sysctl=RANGE)) == 2

    def test_a_text_that_differs_is_told(self) -> None:
        one = page(node(web("4096", "1024 65535", "cubic")), "drift")

        told = one.samples("netns_sysctl_text_info", pod="web-0", sysctl=CONGESTION)
        assert [dict(labels)["value"] for labels in told] == ["cubic"]

    def test_what_was_declared_is_told_though_it_is_the_hosts(self) -> None:
        one = page(node(web(declared=[asked("4096")])), "drift")

        drift = one.samples("netns_sysctl_drift", pod="web-0")
        assert [dict(labels)["origin"] for labels in drift] == ["declared"]

    def test_the_hosts_numbers_are_told_as_such_and_its_texts_as_its_own(self) -> None:
        one = page(node(web()), "drift")

        assert not one.samples("netns_sysctl_value", netns="host")
        assert one.value("netns_sysctl_host_value", sysctl=SOMAXCONN) == 4096
        assert one.value("netns_sysctl_text_info", netns="host", value="bbr") == 1

    def test_of_a_sandbox_no_value_is_told(self) -> None:
        gvisor = web("1", "1 2", "x", owner=an_owner(sandbox="gvisor"))
        one = page(node(gvisor), "drift")

        assert not one.samples("netns_sysctl_value", pod="web-0")
        assert one.samples("netns_info", pod="web-0")

    def test_without_any_reference_every_value_is_told(self) -> None:
        parcel = an_encoded_snapshot(web("128", "1 2", "cubic"), sysctls=SYSCTLS)

        assert (
            len(page(parcel, "drift").samples("netns_sysctl_value", pod="web-0")) == 3
        )


class TestSums:
    def test_namespaces_that_differ_are_counted_by_why(self) -> None:
        written = web("128", "1024 65535", "bbr", at=1)
        default = web(at=2)
        said = web("9", "1 9", "bbr", at=3, declared=[asked("9")])
        parcel = node(written, default, said)

        for detail in DETAILS:
            one = page(parcel, detail)
            name = "netns_sysctl_drifting_namespaces"
            assert one.value(name, sysctl=SOMAXCONN, origin="modified") == 1
            assert one.value(name, sysctl=SOMAXCONN, origin="declared") == 1
            assert one.value(name, sysctl=RANGE, origin="modified") == 1
            assert len(one.samples(name)) == 3

    def test_extremes_are_those_of_whoever_is_held_against_the_host(self) -> None:
        lacking = msgspec.structs.replace(web(at=4), readings=(MISSING, "7 8", DENIED))
        one = page(
            node(
                web("128", "5 6", "bbr"),
                web("512", "7 9", "bbr", at=1),
                web("1", "1 1", "x", at=2, owner=an_owner(pod="x", sandbox="kata")),
                web("2", "1 1", "x", at=3, state="pending"),
                lacking,
            )
        )

        low, high = "netns_sysctl_lowest_value", "netns_sysctl_highest_value"
        assert one.value(low, sysctl=SOMAXCONN) == 128
        assert one.value(high, sysctl=SOMAXCONN) == 512
        assert one.value(low, sysctl=RANGE, field="low") == 5
        assert one.value(high, sysctl=RANGE, field="high") == 9
        assert not one.samples(low, sysctl=CONGESTION)

    def test_the_host_alone_has_none(self) -> None:
        one = page(node(host=("128", "1 2", "bbr")))

        assert not one.samples("netns_sysctl_drifting_namespaces")
        assert not one.samples("netns_sysctl_lowest_value")


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
SIZES = st.builds(
    lambda summary, more: SeriesCount(summary + more, summary),
    st.integers(0, 20),
    st.integers(0, 200),
)


class TestRoom:
    @given(st.lists(st.tuples(OWNERS, SIZES), max_size=30), st.integers(-10, 4000))
    def test_the_limit_is_never_exceeded_and_all_is_exported_where_it_fits(
        self, namespaces: list[tuple[Owner, SeriesCount]], limit: int
    ) -> None:
        counts = [count for _, count in namespaces]

        levels = allocate([owner for owner, _ in namespaces], counts, limit)

        exported = sum(
            count.whole if level is ExportLevel.WHOLE else count.summary
            for count, level in zip(counts, levels, strict=True)
            if level is not ExportLevel.NOTHING
        )
        assert exported <= max(limit, 0)
        if sum(count.whole for count in counts) <= limit:
            assert set(levels) <= {ExportLevel.WHOLE}

    def test_nothing_is_ranked_where_everything_just_fits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(series_limit, "_by_rank", pytest.fail)

        levels = allocate([an_owner()] * 3, [SeriesCount(10, 2)] * 3, 30)

        assert levels == [ExportLevel.WHOLE] * 3

    def test_a_summary_of_all_equals_comes_before_the_whole_of_any(self) -> None:
        owners = [an_owner(pod=f"web-{at}") for at in range(3)]

        assert (
            allocate(owners, [SeriesCount(10, 2)] * 3, 6) == [ExportLevel.SUMMARY] * 3
        )
        assert allocate(owners, [SeriesCount(10, 2)] * 3, 14) == [
            ExportLevel.WHOLE,
            ExportLevel.SUMMARY,
            ExportLevel.SUMMARY,
        ]

    def test_who_matters_least_and_came_last_is_left_out(self) -> None:
        flood = [an_owner("process", pod="", netns=f"cookie/{at}") for at in range(3)]
        nested = an_owner(netns="cookie/9")
        named = an_owner("named", pod="", netns="named/blue")
        owners = [Owner(kind="host", netns="host"), *flood, nested, named, an_owner()]

        found = allocate(owners, [SeriesCount(10, 10)] * 7, 40)

        host, first, second, third, inner, blue, pod = found
        assert host is blue is pod is first is ExportLevel.WHOLE
        assert second is third is inner is ExportLevel.NOTHING

    def test_the_whole_of_a_pod_comes_before_a_summary_of_strangers(self) -> None:
        flood = [an_owner("process", pod="", netns=f"cookie/{at}") for at in range(3)]

        found = allocate([*flood, an_owner()], [SeriesCount(10, 2)] * 4, 14)

        assert found == [
            ExportLevel.SUMMARY,
            ExportLevel.SUMMARY,
            ExportLevel.NOTHING,
            ExportLevel.WHOLE,
        ]


def crowd(many: int) -> EncodedSnapshot:
    """Return a pod, and *many* namespaces that somebody made before it."""
    made = [
        web(
            netns=a_netns(100 + at),
            owner=an_owner(
                "process", pod="", namespace="", uid="", netns=f"cookie/{at}"
            ),
        )
        for at in range(many)
    ]
    return node(*made, web("128", "1 2", "cubic"))


class TestLimit:
    def test_a_page_has_no_more_series_than_that_and_says_what_is_left_out(
        self,
    ) -> None:
        for limit in (300, 500, 800):
            one = page(crowd(40), max_series=limit)

            assert len(one.series) <= limit - SERVER_SERIES + 2
            assert one.value("netns_exporter_series_limit") == limit
            to = "netns_exporter_namespaces_reduced"
            summary, nothing = one.value(to, to="summary"), one.value(to, to="nothing")
            assert summary is not None
            assert nothing is not None
            told = len(one.samples("netns_info"))
            assert told == 42 - nothing
            whole = len(one.samples("netns_sysctl_text_info"))
            assert whole == 42 - nothing - summary
            assert nothing + summary > 0

    def test_neither_the_host_nor_a_pod_is_left_out_for_a_crowd(self) -> None:
        one = page(crowd(40), max_series=300)

        assert one.value("netns_sysctl_value", pod="web-0", sysctl=SOMAXCONN) == 128
        assert one.value("netns_listener_queue", pod="web-0") is not None
        assert one.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN) == 4096

    def test_a_summary_is_what_the_detail_of_that_name_has(self) -> None:
        parcel = crowd(40)
        by_room, by_choice = page(parcel, max_series=500), page(parcel, "summary")

        whole = {
            dict(k).get("netns") for k in by_room.samples("netns_sysctl_text_info")
        }
        reduced = {
            key: value
            for key, value in by_choice.series.items()
            if (netns := dict(key[1]).get("netns")) and netns not in whole
        }
        shown = {dict(k).get("netns") for k in by_room.samples("netns_info")}
        for (name, labels), value in reduced.items():
            if dict(labels)["netns"] in shown:
                assert by_room.series[name, labels] == value

    def test_all_is_told_again_once_there_is_room(self) -> None:
        renderer = Renderer("1", max_series=500)

        shown(renderer, crowd(40))
        assert renderer.reduced_namespaces > 0
        again = shown(renderer, crowd(1))

        assert renderer.reduced_namespaces == 0
        assert again.series == page(crowd(1), max_series=500).series

    def test_what_stays_the_same_stays_the_same_chunks(self) -> None:
        renderer = Renderer("1", max_series=500)
        renderer.render(crowd(40))
        before = renderer.exposition(TEXT)

        renderer.render(crowd(40))

        now = renderer.exposition(TEXT)
        assert all(a is b for a, b in zip(now, before, strict=True))

    def test_without_a_limit_there_is_none(self) -> None:
        one = page(crowd(40))

        assert not one.samples("netns_exporter_series_limit")
        assert one.value("netns_exporter_namespaces_reduced", to="summary") == 0
        assert one.value("netns_exporter_namespaces_reduced", to="nothing") == 0


def test_every_counter_that_tells_a_loss_is_told_with_drift() -> None:
    assert COUNTER_METRICS["TcpExt.ListenOverflows"].detail == "summary"
    assert COUNTER_METRICS["TcpExt.TCPRcvQDrop"].detail == "drift"
    assert COUNTER_METRICS["Tcp.ActiveOpens"].detail == "full"
