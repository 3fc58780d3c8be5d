"""The signals of one namespace: their series, and how many there are at most."""

import pytest

from exporter.analysis.saturation import NamespaceLimits
from exporter.exposition import metrics
from exporter.exposition.metrics import COUNTER_METRICS, LISTENER_METRICS
from exporter.exposition.renderer import Renderer
from exporter.exposition.series_limit import SeriesCount, count_series
from exporter.exposition.signal_series import (
    RenderedSignals,
    max_series,
    render_signals,
    signal_context,
)
from exporter.model import Detail, NodeLimits, Signals
from testing.running import Exposition
from tests.support.builders import (
    UID,
    a_listener,
    a_namespace,
    a_netns,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)
from tests.support.expositions import PORT_RANGE, exposition, render

COUNTERS = ("TcpExt.ListenOverflows", "Udp6.RcvbufErrors")

SYSCTLS = (
    a_sysctl(),
    a_sysctl(PORT_RANGE, kind="ints", fields=("low", "high")),
    a_sysctl("net.ipv4.tcp_max_tw_buckets", class_="derived"),
)


def exported(signals: Signals) -> Exposition:
    """Return the exposition of a pod with *signals*; those of the host are unknown."""
    pod = a_namespace(readings=("128", "1001 2000", "400"))
    host = the_hosts_namespace(readings=("65535", "1024 65535", "9"))
    return exposition(
        an_encoded_snapshot(
            host,
            pod,
            sysctls=SYSCTLS,
            counters=COUNTERS,
            machine=NodeLimits(conntrack_limit=1000),
            signals=[Signals(), signals],
        )
    )


class TestSeries:
    def test_a_queue_its_limit_and_losses_have_the_labels_of_their_pod(self) -> None:
        full = a_listener(8080, queue=129, limit=128)

        found = exported(some_signals(full, counters=(312, None)))

        pod = {"pod": "web-0", "uid": UID}
        socket = {**pod, "address": "*", "port": "8080"}
        assert found.value("netns_listener_queue", **socket) == 129
        assert found.value("netns_listener_queue_limit", **socket) == 128
        assert found.value("netns_listener_info", **socket, backlog="clamped") == 1
        assert found.value("netns_tcpext_listen_overflows_total", **pod) == 312
        assert not found.samples("netns_udp6_rcvbuf_errors_total", **pod)

    def test_stale_is_0_or_1_and_absent_where_it_is_unknown(self) -> None:
        stale = a_listener(1, limit=64, somaxconn_at_listen=64)
        smaller = a_listener(2, limit=64, somaxconn_at_listen=128)

        found = exported(some_signals(stale, smaller, a_listener(3, limit=64)))

        samples = found.samples("netns_listener_stale")
        assert {dict(labels)["port"]: value for labels, value in samples.items()} == {
            "1": 1,
            "2": 0,
        }
        listeners = map(dict, found.samples("netns_listener_info"))
        assert {labels["port"]: labels.get("backlog") for labels in listeners} == {
            "1": "stale",
            "2": "application",
            "3": None,
        }

    def test_each_resource_has_a_fill_ratio(self) -> None:
        half_full = a_listener(queue=32, limit=63)

        found = exported(
            some_signals(
                half_full, conntrack=250, tcp_sockets=90, time_wait=10, udp_sockets=7
            )
        )

        samples = found.samples("netns_fill_ratio")
        assert {
            dict(labels)["resource"]: value for labels, value in samples.items()
        } == {
            "accept_queue": 0.5,
            "conntrack": 0.25,
            "ports": 0.1,
            "time_wait": 0.025,
        }
        assert found.value("netns_ports", pod="web-0") == 1000
        assert found.value("netns_ports_in_use", protocol="tcp") == 100
        assert found.value("netns_ports_in_use", protocol="udp") == 7
        assert found.value("netns_conntrack_limit") == 1000

    def test_signals_that_were_not_collected_have_no_series(self) -> None:
        found = exported(Signals())

        for spec in (*metrics.LISTENER_METRICS, *metrics.SIGNAL_METRICS):
            assert not found.samples(spec.name, pod="web-0")

    def test_sockets_that_share_a_port_and_listeners_left_out_are_counted(
        self,
    ) -> None:
        found = exported(some_signals(a_listener(sockets=4), listening=7, left_out=3))

        assert found.value("netns_listener_sockets", port="8080") == 4
        assert found.value("netns_listening_sockets", pod="web-0") == 7
        assert found.value("netns_listeners_left_out", pod="web-0") == 3

    def test_a_sandbox_and_a_pending_namespace_have_no_signals(self) -> None:
        gvisor = a_namespace(owner=an_owner(sandbox="gvisor"))
        pending = a_namespace(state="pending", netns=a_netns(8))
        signals = some_signals(a_listener(), counters=(1,))

        found = exposition(
            an_encoded_snapshot(
                gvisor, pending, counters=COUNTERS[:1], signals=[signals, signals]
            )
        )

        for spec in (*metrics.LISTENER_METRICS, *metrics.SIGNAL_METRICS):
            assert not found.samples(spec.name)
        assert not found.samples("netns_tcpext_listen_overflows_total")

    def test_signals_are_those_of_the_last_snapshot(self) -> None:
        renderer = Renderer("1")

        def queue(*signals: Signals) -> float | None:
            snapshot = an_encoded_snapshot(
                a_namespace(), counters=COUNTERS, signals=signals
            )
            body = render(renderer, snapshot)
            return Exposition(body.decode()).value("netns_listener_queue", port="8080")

        assert queue(some_signals(a_listener(queue=1))) == 1
        assert queue(some_signals(a_listener(queue=1), counters=(5, 5))) == 1
        assert queue(some_signals(a_listener(queue=2), counters=(5, 5))) == 2
        assert queue(some_signals()) is None

    def test_ratios_follow_the_limit_of_the_machine(self) -> None:
        renderer = Renderer("1")

        def ratio(limit: int) -> float | None:
            snapshot = an_encoded_snapshot(
                a_namespace(),
                machine=NodeLimits(conntrack_limit=limit),
                signals=[some_signals(conntrack=10)],
            )
            body = render(renderer, snapshot)
            return Exposition(body.decode()).value(
                "netns_fill_ratio", resource="conntrack"
            )

        assert ratio(100) == 0.1
        assert ratio(20) == 0.5
        assert ratio(0) is None  # no limit


ALL_COUNTERS = list(COUNTER_METRICS.values())
LIMITS = NamespaceLimits(somaxconn=9, ports=9, time_wait=9, conntrack=9)
CONTEXT = signal_context(7, an_owner(), LIMITS)


def everything(listeners: int = 2, detail: Detail = "full") -> RenderedSignals:
    """Return signals that have every series they can have."""
    signals = some_signals(
        *(a_listener(port, limit=9, sockets=2) for port in range(1, 1 + listeners)),
        counters=range(len(ALL_COUNTERS)),
        left_out=1,
    )
    context = signal_context(7, an_owner(), LIMITS, detail)
    return render_signals(context, ALL_COUNTERS, signals, None)


class TestMaxSeries:
    """An upper bound that costs less than counting lines."""

    @pytest.mark.parametrize("listeners", [0, 1, 50])
    def test_there_are_never_more_series(self, listeners: int) -> None:
        rendered = everything(listeners)
        summary = everything(listeners, "summary")
        counters = SeriesCount(
            len(ALL_COUNTERS), sum(spec.is_exported("summary") for spec in ALL_COUNTERS)
        )

        most = max_series(CONTEXT, rendered, counters)

        assert count_series(rendered.row.cells) <= most.whole
        assert count_series(summary.row.cells) <= most.summary

    def test_each_counter_adds_one(self) -> None:
        rendered = everything()
        whole, summary = max_series(CONTEXT, rendered, SeriesCount(0, 0))

        more = max_series(CONTEXT, rendered, SeriesCount(7, 3))

        assert more == (whole + 7, summary + 3)

    def test_each_listener_adds_one_of_each_metric_but_none_to_the_summary(
        self,
    ) -> None:
        none = SeriesCount(0, 0)
        whole, summary = max_series(CONTEXT, everything(1), none)

        more = max_series(CONTEXT, everything(3), none)

        assert more == (whole + 2 * len(LISTENER_METRICS), summary)

    def test_listeners_count_only_where_they_are_exported(self) -> None:
        context = signal_context(7, an_owner(), LIMITS, "summary")
        none = SeriesCount(0, 0)

        assert max_series(context, everything(9), none) == max_series(
            context, everything(0), none
        )
