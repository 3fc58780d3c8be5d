"""
Render pages: templates, filled with the content that the other modules build.

All text passes through `escape_control`, so that nothing reorders or hides it, and is
escaped by the template engine. No template contains scripts, styles or attribute names
from data.
"""

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
import jinja2.debug  # an error imports it, but then no file can be opened
from markupsafe import Markup

from exporter import __version__, catalog
from exporter.analysis.assessment import assess
from exporter.analysis.isolation import decode_snapshot
from exporter.escaping import escape_control
from exporter.model import Snapshot
from exporter.owner import display_name
from exporter.pages.catalog_page import catalog_page
from exporter.pages.charts import bar_width
from exporter.pages.namespace_page import namespace_page
from exporter.pages.namespace_table import OwnerLink
from exporter.pages.node_page import node_page
from exporter.pages.query import MAX_TEXT, PageRequest, RenderedPage
from exporter.pages.urls import NamespaceUrls
from exporter.reports import sentences
from exporter.reports.lookup import AmbiguousOwnerError, UnknownOwnerError
from exporter.reports.overview import overview

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Of pages; X-Content-Type-Options is a header of every response."""

STYLE_PATH = "/static/style.css"

_MAX_CANDIDATES = 100
"""Namespaces that are listed for an ambiguous name."""


_TITLES = {AmbiguousOwnerError: "Ambiguous name", UnknownOwnerError: "Not found"}


class PageRenderer:
    """Renders pages; opens all files that it needs when it is created."""

    def __init__(self, version: str) -> None:
        files = resources.files("exporter.pages").joinpath("templates")
        self.style = files.joinpath("style.css").read_bytes()
        self.style_hash = hashlib.sha256(self.style).hexdigest()[:16]
        environment = _environment(
            {
                file.name: file.read_text("utf-8")
                for file in files.iterdir()
                if file.name.endswith(".html")
            }
        )
        environment.globals |= {
            "version": version,
            "style": f"{STYLE_PATH}?{self.style_hash}",
            "max_text": MAX_TEXT,
            "format_value": sentences.format_value,
            "bar_width": bar_width,
        }
        self._templates = {
            name.removesuffix(".html"): environment.get_template(name)
            for name in environment.list_templates()
        }
        self._catalog = catalog.load()
        self._purposes = {entry.name: entry.why for entry in self._catalog}

    def render(self, request: PageRequest, raw: bytes) -> RenderedPage:
        """Return the requested page of a snapshot, which is given as JSON."""
        decoded = decode_snapshot(raw)
        snapshot, errors = decoded.snapshot, decoded.errors
        match request.page:
            case "node":
                node = overview(snapshot)
                errors += node.errors
                page = node_page(node, request)
                body = self._fill("node", snapshot, page=page, request=request)
            case "catalog":
                listing = catalog_page(snapshot, self._catalog, request.search)
                body = self._fill("catalog", snapshot, page=listing, request=request)
            case "namespace":
                return self._namespace(request.owner, snapshot)
        return RenderedPage(body=body, errors=errors)

    def render_error(self, title: str, reason: str) -> bytes:
        """Return the page of an error."""
        content = {"title": title, "reason": reason, "candidates": (), "more": 0}
        return self._fill("error", None, **content)

    def _namespace(self, name: str, snapshot: Snapshot) -> RenderedPage:
        urls = NamespaceUrls(snapshot.namespaces)
        try:
            namespace = urls.find(name)
        except (AmbiguousOwnerError, UnknownOwnerError) as error:
            candidates = [
                OwnerLink(name=display_name(entry.owner), path=urls.path(entry))
                for entry in urls.namespaces_named(name)
            ]
            body = self._fill(
                "error",
                snapshot,
                title=_TITLES[type(error)],
                reason=str(error),
                candidates=candidates[:_MAX_CANDIDATES],
                more=max(0, len(candidates) - _MAX_CANDIDATES),
            )
            return RenderedPage(body=body, found=False)
        page = namespace_page(assess(snapshot).of(namespace), self._purposes)
        path = urls.path(namespace)
        return RenderedPage(
            body=self._fill("namespace", snapshot, page=page, path=path)
        )

    def _fill(self, template: str, snapshot: Snapshot | None, **content: Any) -> bytes:  # noqa: ANN401
        head = snapshot and {
            "name": snapshot.node,
            "kernel": snapshot.kernel,
            "collected": sentences.format_time(snapshot.time),
        }
        return self._templates[template].render(node=head, **content).encode()


@functools.cache
def page_renderer() -> PageRenderer:
    """Return the renderer of this process, which later can open no file."""
    return PageRenderer(__version__)


def _environment(sources: Mapping[str, str]) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _finalize(value: object) -> object:
    """Return what the engine escapes; the output of a macro is escaped already."""
    if isinstance(value, Markup):
        return value
    return escape_control(value) if isinstance(value, str) else value
