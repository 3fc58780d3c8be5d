"""
The part of Helm's template language that the chart uses; other parts are errors.

Debian does not package Helm. This renders the same documents as Helm 4.2 did when the
two were compared. The chart may use only what is supported here.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_ACTION = re.compile(r"\{\{(-?)(.*?)(-?)\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[()|]|[^\s()|]+')


class _Branch(NamedTuple):
    """An if, with or range; *otherwise* is the part after its else."""

    keyword: str
    condition: str
    body: list["_Node"]
    otherwise: list["_Node"]


class _Output(NamedTuple):
    pipeline: str


_Node = str | _Output | _Branch
_Tokens = list[str | _Output]


class Chart:
    """A chart, rendered as by `helm template`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._metadata = msgspec.yaml.decode((directory / "Chart.yaml").read_bytes())
        self._values = msgspec.yaml.decode((directory / "values.yaml").read_bytes())
        self._defined: dict[str, list[_Node]] = {}
        self._read((directory / "templates/_helpers.tpl").read_text())

    def values(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the default values with *overrides*; lists are replaced."""
        return _merged(self._values, overrides)

    def render(
        self, overrides: Mapping[str, Any], *, release: str = ""
    ) -> dict[str, str]:
        """Return the rendered templates by their file names."""
        dot = {
            "Values": self.values(overrides),
            "Chart": {key[0].upper() + key[1:]: v for key, v in self._metadata.items()},
            "Release": {
                "Name": release or self._metadata["name"],
                "Namespace": self._metadata["name"],
                "Service": "Helm",
            },
            "Files": {"Get": lambda name: (self._directory / name).read_text()},
        }
        return {
            path.name: self._text(self._read(path.read_text()), dot)
            for path in sorted((self._directory / "templates").iterdir())
            if not path.name.startswith("_")
        }

    def _read(self, text: str) -> list[_Node]:
        tokens = _tokens(text)
        nodes = self._nodes(tokens)
        assert not tokens, f"unexpected end before {tokens[-1]!r}"
        return nodes

    def _nodes(self, tokens: _Tokens) -> list[_Node]:
        """Pop nodes from the reversed *tokens*, up to the end or else of a block."""
        nodes: list[_Node] = []
        while tokens:
            token = tokens[-1]
            if isinstance(token, _Output):
                keyword, _, rest = token.pipeline.partition(" ")
                if keyword in {"end", "else"}:
                    break
                tokens.pop()
                if keyword == "define":
                    self._defined[json.loads(rest)] = self._nodes(tokens)
                    _pop_end(tokens)
                elif keyword in {"if", "with", "range"}:
                    nodes.append(self._branch(keyword, rest, tokens))
                else:
                    nodes.append(token)
            else:
                nodes.append(token)
                tokens.pop()
        return nodes

    def _branch(self, keyword: str, condition: str, tokens: _Tokens) -> _Branch:
        body = self._nodes(tokens)
        otherwise: list[_Node] = []
        match tokens[-1]:
            case _Output(pipeline="else"):
                tokens.pop()
                otherwise = self._nodes(tokens)
                _pop_end(tokens)
            case _Output(pipeline=text) if text.startswith("else if "):
                tokens.pop()
                otherwise = [
                    self._branch("if", text.removeprefix("else if "), tokens)
                ]  # which popped the end of both
            case _:
                _pop_end(tokens)
        return _Branch(keyword, condition, body, otherwise)

    def _text(self, nodes: list[_Node], dot: Any) -> str:  # noqa: ANN401
        return "".join(self._render_node(node, dot) for node in nodes)

    def _render_node(self, node: _Node, dot: Any) -> str:  # noqa: ANN401
        if isinstance(node, str):
            return node
        if isinstance(node, _Output):
            return _printed(self._value(node.pipeline, dot), node.pipeline)
        value = self._value(node.condition, dot)
        if not value:
            return self._text(node.otherwise, dot)
        if node.keyword == "range":
            return "".join(self._text(node.body, item) for item in value)
        return self._text(node.body, value if node.keyword == "with" else dot)

    def _value(self, pipeline: str, dot: Any) -> Any:  # noqa: ANN401
        words = _WORD.findall(pipeline)[::-1]
        value = self._piped(words, dot)
        assert not words, f"cannot parse {pipeline!r}"
        return value

    def _piped(self, words: list[str], dot: Any) -> Any:  # noqa: ANN401
        """Pop commands from the reversed *words*; each gets the previous result."""
        value = self._command(words, dot, [])
        while words and words[-1] == "|":
            words.pop()
            value = self._command(words, dot, [value])
        return value

    def _command(self, words: list[str], dot: Any, piped: list[Any]) -> Any:  # noqa: ANN401
        first = words.pop()
        if first == "(":
            value = self._piped(words, dot)
            assert words.pop() == ")"
            return value
        arguments = []
        while words and words[-1] not in {"|", ")"}:
            nested = words[-1] == "("
            arguments.append(
                self._command(words, dot, []) if nested else _operand(words.pop(), dot)
            )
        arguments += piped
        if first == "include":
            return self._text(self._defined[arguments[0]], arguments[1])
        if first in _FUNCTIONS:
            return _FUNCTIONS[first](*arguments)
        value = _operand(first, dot)
        return value(*arguments) if arguments else value


def _tokens(text: str) -> _Tokens:
    """Return text and actions in reverse, with white space trimmed for `{{-`, `-}}`."""
    tokens: _Tokens = []
    end, trims = 0, ""
    for match in _ACTION.finditer(text):
        left, action, right = match.groups()
        before = text[end : match.start()]
        before = before.lstrip() if trims else before
        tokens.append(before.rstrip() if left else before)
        tokens.append(_Output(action.strip()))
        end, trims = match.end(), right
    tokens.append(text[end:].lstrip() if trims else text[end:])
    return [token for token in tokens if token != ""][::-1]


def _pop_end(tokens: _Tokens) -> None:
    assert tokens.pop() == _Output("end"), "a block without an end"


def _operand(word: str, dot: Any) -> Any:  # noqa: ANN401
    if word.startswith('"'):
        return json.loads(word)
    if word.isdecimal():
        return int(word)
    assert word.startswith("."), f"not supported: {word!r}"
    value = dot
    for name in filter(None, word.split(".")):
        assert isinstance(value, dict), f"{word}: no {name}"
        value = value.get(name)
    return value


def _printed(value: Any, pipeline: str) -> str:  # noqa: ANN401
    assert isinstance(value, str | int), f"{pipeline}: {value!r} cannot be printed"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _indented(width: int, text: str) -> str:
    return text.replace("\n", "\n" + " " * width)


def _merged(default: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = {
        key: _merged(default[key], value)
        if isinstance(value, Mapping) and isinstance(default.get(key), Mapping)
        else value
        for key, value in overrides.items()
    }
    return {**default, **merged}


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "contains": lambda part, text: part in text,
    "default": lambda otherwise, value: value or otherwise,
    "eq": lambda left, right: left == right,
    "nindent": lambda width, text: _indented(width, f"\n{text}"),
    "not": lambda value: not value,
    "printf": lambda form, *values: form % values,
    "quote": json.dumps,
    "replace": lambda old, new, text: text.replace(old, new),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "toYaml": lambda value: msgspec.yaml.encode(value).decode().rstrip("\n"),
    "trimPrefix": lambda prefix, text: text.removeprefix(prefix),
    "trimSuffix": lambda suffix, text: text.removesuffix(suffix),
    "trunc": lambda length, text: text[:length],
}
