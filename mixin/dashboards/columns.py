"""Columns that several tables have. Pure."""

from collections.abc import Sequence

from mixin.dashboards import queries as q
from mixin.dashboards.links import row_to_node, row_to_pod
from mixin.dashboards.panels import WARN, Column

NODE = Column(of="instance", title="Node", links=[row_to_node()])
CLUSTER = Column(of="cluster", title="Cluster", width=110)

OWNER = Column(of="owner", title="Owner", width=320, links=[row_to_pod()])
"""Whose a row is, on its way to the Pod dashboard."""

HIDDEN = tuple(Column(of=name) for name in ("owners", *q.SEEN))
"""What links of a row need to know of its owner."""


def of_listeners(*, numbers: int, stale: int) -> Sequence[Column]:
    """
    Return what tells of a listener: A is its fill, B its queue, C its limit, D stale.

    numbers, stale: widths.
    """
    return (
        Column(of="address", title="Address", width=260),
        Column(of="port", title="Port", width=80),
        Column(of="protocol", title="Protocol", width=95),
        Column(of="B", title="Queue", width=numbers),
        Column(of="C", title="Limit", width=numbers),
        Column(of="A", title="Fill", unit="percentunit", gauge=True, most=1),
        Column(of="backlog", title="Limit is from", width=125),
        Column(
            of="D",
            title="Stale",
            width=stale,
            colours={"0": "text", "1": WARN},
            names={"0": "no", "1": "stale"},
        ),
    )
