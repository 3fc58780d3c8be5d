"""The signals of one namespace: their series, and how many there are at most."""

import pytest

from exporter.analysis.saturation import NamespaceLimits
from exporter.exposition.metrics import COUNTER_METRICS, LISTENER_METRICS
from exporter.exposition.series_limit import SeriesCount, count_series
from exporter.exposition.signal_series import (
    RenderedSignals,
    max_series,
    render_signals,
    signal_context,
)
from exporter.model import Detail
from tests.support.builders import a_listener, an_owner, some_signals

COUNTERS = list(COUNTER_METRICS.values())
LIMITS = NamespaceLimits(somaxconn=9, ports=9, time_wait=9, conntrack=9)
CONTEXT = signal_context(7, an_owner(), LIMITS)


def everything(listeners: int = 2, detail: Detail = "full") -> RenderedSignals:
    """Return signals that have every series they can have."""
    signals = some_signals(
        *(a_listener(port, limit=9, sockets=2) for port in range(1, 1 + listeners)),
        counters=range(len(COUNTERS)),
        left_out=1,
    )
    context = signal_context(7, an_owner(), LIMITS, detail)
    return render_signals(context, COUNTERS, signals, None)


class TestMaxSeries:
    """An upper bound that costs less than counting lines."""

    @pytest.mark.parametrize("listeners", [0, 1, 50])
    def test_there_are_never_more_series(self, listeners: int) -> None:
        rendered = everything(listeners)
        summary = everything(listeners, "summary")
        counters = SeriesCount(
            len(COUNTERS), sum(spec.is_exported("summary") for spec in COUNTERS)
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
