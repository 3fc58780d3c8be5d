"""
Snippets of Go templates for annotations. Pure: no I/O.

Label values are untrusted: a container's name is chosen by its creator. Within a
query, `printf "%q"` quotes them, and PromQL reads the same quoting. Within text they
are quoted the same way, so that a name can neither end a string nor start a line. No
text contains a command with a name in it, since it could be pasted into a shell.
"""

from collections.abc import Iterable

from mixin.promql import NODE_LABELS, OWNER_LABELS

ALERT_LABELS = "$labels"
"""The labels of the alert."""

SAMPLE_LABELS = "$sample.Labels"
"""The labels of the current query result, in with_first() and for_each()."""

VALUE = '{{ printf "%.0f" $value }}'
"""The value of the alert, a count."""

SAMPLE_VALUE = '{{ printf "%.0f" $sample.Value }}'
"""The value of the current query result."""

PLURAL = "{{ if ne $value 1.0 }}s{{ end }}"

END = "{{ end }}"

PERCENTAGE = "{{ $value | humanizePercentage }}"

RATE = '{{ if ge $value 10.0 }}{{ printf "%.0f" $value }}{{ else }}\
{{ printf "%.2g" $value }}{{ end }} per second'

_OWNER_NAMES = ("netns", "container", "pod")


def owner_name(labels: str) -> str:
    """Return the name of the owner that *labels* identify."""
    return (
        f'{{{{ if {labels}.pod }}}}pod {{{{ printf "%s/%s" {labels}.namespace '
        f'{labels}.pod | printf "%q" }}}}'
        f'{{{{ else if {labels}.container }}}}container {{{{ printf "%q" '
        f"{labels}.container }}}}"
        f'{{{{ else if {labels}.uid }}}}pod with uid {{{{ printf "%q" {labels}.uid }}}}'
        f'{{{{ else if eq {labels}.netns "host" }}}}the host'
        f'{{{{ else }}}}network namespace {{{{ printf "%q" {labels}.netns }}}}'
        "{{ end }}"
    )


def netns_suffix(labels: str) -> str:
    """Return the name of an owner's additional namespace, "" for its main one."""
    owner = " ".join(f"{labels}.{name}" for name in ("pod", "container", "uid"))
    return (
        f"{{{{ if and {labels}.netns (or {owner}) }}}} "
        f'(its network namespace {{{{ printf "%q" {labels}.netns }}}}){{{{ end }}}}'
    )


def count_of(noun: str) -> str:
    """Return the value of the alert with *noun*, in the plural unless it is 1."""
    return f"{VALUE} {noun}{PLURAL}"


def matchers(labels: str, names: Iterable[str] = OWNER_LABELS) -> str:
    """
    Return the arguments of a Go printf that formats matchers.

    An empty label value matches series without that label.
    """
    names = tuple(names)
    template = ",".join(f"{name}=%q" for name in names)
    return " ".join([f"`{template}`", *(f"{labels}.{name}" for name in names)])


def set_owner() -> str:
    """
    Set the template variable $owner to matchers of the alert's owner.

    With a uid these are fewer matchers: each costs a lookup, as does all that an
    empty one excludes. A uid is unique on a node, but its pod may have several
    network namespaces.
    """
    by_uid = matchers(ALERT_LABELS, (*NODE_LABELS, "uid", "netns"))
    return (
        f"{{{{ $owner := printf {matchers(ALERT_LABELS)} }}}}"
        f"{{{{ if {ALERT_LABELS}.uid }}}}{{{{ $owner = printf {by_uid} }}}}"
        "{{ end }}"
    )


def set_node() -> str:
    """Set the template variable $node to matchers of the alert's node."""
    return f"{{{{ $node := printf {matchers(ALERT_LABELS, NODE_LABELS)} }}}}"


def query(expression: str, *arguments: str) -> str:
    """Return a query pipeline; *expression* has a %s or %q for each argument."""
    return " ".join(["printf", f"`{expression}`", *arguments, "| query"])


def sort_by_owner(pipeline: str) -> str:
    """Return the pipeline with its results sorted by owner; the sort is stable."""
    return (
        f"{pipeline} | {' | '.join(f'sortByLabel `{name}`' for name in _OWNER_NAMES)}"
    )


def first_value(pipeline: str, *, before: str = "", after: str = "") -> str:
    """Return the value of the first result between two texts, "" without results."""
    value = '{{ . | first | value | printf "%.0f" }}'
    return f"{{{{ with {pipeline} }}}}{before}{value}{after}{{{{ end }}}}"


def with_first(pipeline: str, *parts: str) -> str:
    """Return *parts* evaluated for the first result, "" without results."""
    start = f"{{{{ with {pipeline} }}}}{{{{ $sample := first . }}}}"
    return join_lines(start, *parts, END)


def for_each(pipeline: str, text: str, *, before: str = "", after: str = "") -> str:
    """Return *text* evaluated for each result, separated by commas."""
    return join_lines(
        f"{{{{ with {pipeline} }}}}{before}",
        "{{ range $index, $sample := . }}{{ if $index }},{{ end }}",
        f" {text}{{{{ end }}}}{after}{{{{ end }}}}",
    )


def join_lines(*parts: str) -> str:
    """
    Return a template with a source line per part that renders as a single line.

    A space between two parts must stand at the start of the second.

    >>> print(join_lines("a", " b", "{{ $value }}"))
    a
    {{- "" }} b
    {{- $value }}
    """
    first, *others = filter(None, parts)
    return "\n".join([first, *(_continuation(part) for part in others)])


def _continuation(part: str) -> str:
    if part.startswith("{{ "):
        return part.replace("{{", "{{-", 1)
    return '{{- "" }}' + part
