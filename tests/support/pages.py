"""Rendered pages, parsed."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from exporter.model import EncodedSnapshot
from exporter.pages.query import RenderedPage, parse_request
from exporter.pages.render import PageRenderer

NODES = Path(__file__).parents[1] / "nodes"
KUBERNETES = (NODES / "kubernetes/snapshot.json").read_bytes()
RENDERER = PageRenderer("1.2.3")

VOID = {"meta", "link", "input", "br"}


class ParsedPage(HTMLParser):
    """A page, parsed: its tags with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.parts: list[str] = []
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"rect", "line"}
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def all(self, tag: str, name: str) -> list[str]:
        return [attrs[name] for found, attrs in self.found if found == tag]

    def links(self) -> list[str]:
        return [href for href in self.all("a", "href") if href.startswith("/netns/")]


def rendered(raw: bytes, target: str = "/") -> RenderedPage:
    parts = urlsplit(target)
    request = parse_request(unquote(parts.path), parts.query.encode(), gzip=False)
    assert request
    return RENDERER.render(request, raw)


def read(raw: bytes, target: str = "/") -> ParsedPage:
    page = rendered(raw, target)
    assert page.found, page.body.decode()
    return ParsedPage(page.body)


def encoded(snapshot: EncodedSnapshot) -> bytes:
    return msgspec.json.encode(snapshot)
