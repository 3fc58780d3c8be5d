"""
The pages: templates, and what they are filled with.

Everything that is shown goes through `plain`, so that nothing reorders or hides text,
and is escaped by the template engine; no template has a script, a style or an
attribute that somebody else wrote.
"""

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
import jinja2.debug  # else by the first error, when no file can be opened
import msgspec
from markupsafe import Markup

from exporter import __version__, catalog
from exporter.analysis.assessment import assess
from exporter.escaping import escape_control
from exporter.model import Snapshot
from exporter.owner import display_name
from exporter.pages.catalog_page import catalog_page
from exporter.pages.charts import bar_width
from exporter.pages.namespace_page import namespace_page
from exporter.pages.node_page import OwnerLink, node_page
from exporter.pages.query import MAX_TEXT, PageRequest, RenderedPage
from exporter.pages.urls import NamespaceUrls
from exporter.reports import sentences
from exporter.reports.lookup import OwnerLookupError
from exporter.reports.report import study

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Of every page; X-Content-Type-Options is of every answer."""

STYLE_PATH = "/static/style.css"

_CHOICES = 100
"""How many that share a name are listed."""


class PageRenderer:
    """Draws pages; loads all it needs when it is made."""

    def __init__(self, version: str) -> None:
        files = resources.files("exporter.pages").joinpath("templates")
        self.style = files.joinpath("style.css").read_bytes()
        self.style_hash = hashlib.sha256(self.style).hexdigest()[:16]
        environment = _environment(
            {
                one.name: one.read_text("utf-8")
                for one in files.iterdir()
                if one.name.endswith(".html")
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
        self._whys = {entry.name: entry.why for entry in self._catalog}

    def render(self, view: PageRequest, raw: bytes) -> RenderedPage:
        """Return the page for *view* of a snapshot's JSON."""
        snapshot = msgspec.json.decode(raw, type=Snapshot)
        match view.page:
            case "node":
                return self._node(view, snapshot)
            case "namespace":
                return self._namespace(view, snapshot)
            case "catalog":
                made = catalog_page(snapshot, self._catalog, view.search)
                return self._drawn("catalog", snapshot, made=made, view=view)

    def render_error(self, title: str, why: str) -> bytes:
        """Return the page that says what went wrong."""
        return self._text("error", None, title=title, why=why, choices=(), more=0)

    def _node(self, view: PageRequest, snapshot: Snapshot) -> RenderedPage:
        made = node_page(study(snapshot), view)
        return self._drawn("node", snapshot, made=made, view=view)

    def _namespace(self, view: PageRequest, snapshot: Snapshot) -> RenderedPage:
        addresses = NamespaceUrls(snapshot.namespaces)
        try:
            one = addresses.find(view.owner)
        except OwnerLookupError as error:
            choices = [
                OwnerLink(name=display_name(one.owner), path=addresses.path(one))
                for one in addresses.namespaces_named(view.owner)
            ]
            body = self._text(
                "error",
                snapshot,
                title="Not found",
                why=str(error),
                choices=choices[:_CHOICES],
                more=max(0, len(choices) - _CHOICES),
            )
            return RenderedPage(body=body, found=False)
        made = namespace_page(assess(snapshot).of(one), self._whys)
        path = addresses.path(one)
        return self._drawn("namespace", snapshot, made=made, path=path)

    def _drawn(self, template: str, snapshot: Snapshot, **filling: Any) -> RenderedPage:  # noqa: ANN401
        return RenderedPage(body=self._text(template, snapshot, **filling))

    def _text(
        self,
        template: str,
        snapshot: Snapshot | None,
        **filling: Any,  # noqa: ANN401
    ) -> bytes:
        head = snapshot and {
            "name": snapshot.node,
            "kernel": snapshot.kernel,
            "collected": sentences.format_time(snapshot.time),
        }
        return self._templates[template].render(node=head, **filling).encode()


@functools.cache
def page_renderer() -> PageRenderer:
    """Return the one of this process: later it can open no file."""
    return PageRenderer(__version__)


def _environment(sources: Mapping[str, str]) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _fit(value: object) -> object:
    """Return what to escape and show; of a macro's, all that was escaped already is."""
    if isinstance(value, Markup):
        return value
    return escape_control(value) if isinstance(value, str) else value
