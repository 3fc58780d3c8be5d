"""The page of a node: what `report` shows, and a table of its namespaces. Pure."""

from collections.abc import Iterable, Iterator

from exporter.analysis.ranking import AffectedNamespace
from exporter.model import Frozen, Namespace, Problem, Reading
from exporter.owner import display_name
from exporter.pages import charts
from exporter.pages.namespace_table import NamespaceTable, OwnerLink, namespace_table
from exporter.pages.query import PageRequest
from exporter.pages.urls import NamespaceUrls
from exporter.reports import health_text, sentences
from exporter.reports.health_text import HealthRow
from exporter.reports.overview import Deviation, Overview
from exporter.reports.report import Report, Row, ValueGroup, report_of

_MAX_AFFECTED = 10
"""Affected owners that are listed with their signals; the table has all."""

_MAX_VALUES = 6
"""Values that are listed for a sysctl."""


class ValueRow(Frozen, frozen=True, kw_only=True):
    """
    A value of some namespaces.

    Attributes:
        text: the value.
        count: how many namespaces have it.
        origin: of the value, "" where it is unknown.
        deviation: of the value.
        owners: some of the namespaces.
        has_more: whether there are others.

    """

    text: str
    count: int
    origin: str
    deviation: Deviation
    owners: tuple[OwnerLink, ...]
    has_more: bool


class SysctlDistribution(Frozen, frozen=True, kw_only=True):
    """
    The values of a sysctl in all namespaces.

    Attributes:
        sysctl: its name.
        host: the host's value.
        fresh: the value of a new namespace.
        histogram: of the values.
        values: the first few.
        more: how many values are not listed.
        more_namespaces: how many namespaces have those.

    """

    sysctl: str
    host: str
    fresh: str
    histogram: charts.Histogram
    values: tuple[ValueRow, ...]
    more: int
    more_namespaces: int


class SysctlHealth(Frozen, frozen=True, kw_only=True):
    """
    Saturation and drops related to one sysctl.

    Attributes:
        sysctl: its name, "" where none of those read is related.
        value: its value, None where it is unknown.
        rows: the signals.

    """

    sysctl: str
    value: Reading | None
    rows: tuple[HealthRow, ...]


class AffectedOwner(Frozen, frozen=True, kw_only=True):
    """
    An owner with saturation or drops.

    Attributes:
        owner: its name and page.
        sysctls: the signals by sysctl.

    """

    owner: OwnerLink
    sysctls: tuple[SysctlHealth, ...]


class NodePage(Frozen, frozen=True, kw_only=True):
    """
    The content of the page.

    Attributes:
        coverage: sentences on how many namespaces were read and evaluated.
        caveats: sentences on what could not be determined.
        problems: conditions that make the collection incomplete.
        affected: the owners with saturation or drops, the worst first.
        more_affected: how many of them are not listed.
        distributions: of the sysctls that differ somewhere, the worst first.
        unchanged: the other sysctls with the host's value.
        table: the namespaces.

    """

    coverage: tuple[str, ...]
    caveats: tuple[str, ...]
    problems: tuple[Problem, ...]
    affected: tuple[AffectedOwner, ...]
    more_affected: int
    distributions: tuple[SysctlDistribution, ...]
    unchanged: tuple[tuple[str, str], ...]
    table: NamespaceTable


def node_page(node: Overview, request: PageRequest) -> NodePage:
    """Return the page of a node."""
    namespaces = node.assessment.snapshot.namespaces
    urls = NamespaceUrls(namespaces)
    report = report_of(node, everything=True, host_differences=False)
    links = _links_by_name(namespaces, urls)
    listed = node.affected[:_MAX_AFFECTED]
    return NodePage(
        coverage=tuple(_coverage_lines(report)),
        caveats=tuple(sentences.caveats(report)),
        problems=report.problems,
        affected=tuple(_affected(urls.path(entry), impact) for entry, impact in listed),
        more_affected=len(node.affected) - len(listed),
        distributions=tuple(
            _distribution(row, links) for row in report.rows if row.deviation != "same"
        ),
        unchanged=tuple(
            (row.sysctl, sentences.format_value(row.host))
            for row in report.rows
            if row.deviation == "same"
        ),
        table=namespace_table(node, urls, request),
    )


def _coverage_lines(report: Report) -> Iterator[str]:
    yield from map(sentences.coverage_line, report.coverage)
    yield from sentences.exclusions(report)


def _links_by_name(
    namespaces: Iterable[Namespace], urls: NamespaceUrls
) -> dict[str, OwnerLink]:
    """Return a link for each name in a report; without a path if it is ambiguous."""
    links: dict[str, OwnerLink] = {}
    for namespace in namespaces:
        name = display_name(namespace.owner)
        path = "" if name in links else urls.path(namespace)
        links[name] = OwnerLink(name=name, path=path)
    return links


def _affected(path: str, impact: AffectedNamespace) -> AffectedOwner:
    return AffectedOwner(
        owner=OwnerLink(name=impact.owner, path=path),
        sysctls=tuple(
            SysctlHealth(
                sysctl=sysctl.sysctl,
                value=sysctl.value,
                rows=tuple(health_text.health_rows(sysctl.health)),
            )
            for sysctl in impact.impacts
        ),
    )


def _distribution(row: Row, links: dict[str, OwnerLink]) -> SysctlDistribution:
    rest = row.groups[_MAX_VALUES:]
    return SysctlDistribution(
        sysctl=row.sysctl,
        host=sentences.format_value(row.host),
        fresh=sentences.format_value(row.fresh),
        histogram=charts.histogram(row),
        values=tuple(_value_row(group, links) for group in row.groups[:_MAX_VALUES]),
        more=len(rest),
        more_namespaces=sum(group.count for group in rest),
    )


def _value_row(group: ValueGroup, links: dict[str, OwnerLink]) -> ValueRow:
    return ValueRow(
        text=sentences.format_value(group.value),
        count=group.count,
        origin=group.origin or "",
        deviation=group.deviation,
        owners=tuple(links[owner] for owner in group.owners),
        has_more=group.count > len(group.owners),
    )
