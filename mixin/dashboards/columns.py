"""Table columns that several panels share. Pure: no I/O."""

from collections.abc import Sequence

from mixin.dashboards import queries as q
from mixin.dashboards.links import row_to_node, row_to_pod
from mixin.dashboards.panels import ORIGIN_COLORS, SEVERITY_COLORS, WARN
from mixin.dashboards.tables import Column

NODE = Column(source="instance", title="Node", links=[row_to_node()])
CLUSTER = Column(source="cluster", title="Cluster", width=110)

OWNER = Column(source="owner", title="Owner", width=320, links=[row_to_pod()])
"""The owner, with a link to the Pod dashboard."""

HIDDEN_OWNER = tuple(Column(source=name) for name in ("owners", *q.OWNER_NOW))
"""The labels of an owner, which links of the row read."""

SEVERITY = Column(source="severity", title="Severity", colors=SEVERITY_COLORS, width=90)
ORIGIN = Column(source="origin", title="Origin", colors=ORIGIN_COLORS, width=115)


def listener_columns(*, value_width: int, stale_width: int) -> Sequence[Column]:
    """Return the columns of a listener; queries: A fill, B queue, C limit, D stale."""
    return (
        Column(source="address", title="Address", width=260),
        Column(source="port", title="Port", width=80),
        Column(source="protocol", title="Protocol", width=95),
        Column(source="B", title="Queue", width=value_width),
        Column(source="C", title="Limit", width=value_width),
        Column(source="A", title="Fill", unit="percentunit", gauge=True, maximum=1),
        Column(source="backlog", title="Limit set by", width=125),
        Column(
            source="D",
            title="Stale",
            width=stale_width,
            colors={"0": "text", "1": WARN},
            names={"0": "no", "1": "stale"},
        ),
    )
