"""
Snippets of Go templates for annotations. Pure.

What a container chose (its name above all) is hostile: in a query it stands where
`printf "%q"` put it, quoted as PromQL reads it too, and for people it is quoted the
same way, so that it can neither end a string nor begin a line. No text has a command
with such a name in it, which somebody might paste into a shell.
"""

from collections.abc import Iterable

from mixin.promql import NODE, OF_OWNER

HERE = "$labels"
"""The labels of the alert."""

ONE = "$one.Labels"
"""The labels of one of several that are found by a query: examples()."""

NUMBER = '{{ printf "%.0f" $value }}'
"""The alert's value, a number of things."""

VALUE = '{{ printf "%.0f" $one.Value }}'
"""The value of ONE."""

PLURAL = "{{ if ne $value 1.0 }}s{{ end }}"

END = "{{ end }}"

PER_CENT = "{{ $value | humanizePercentage }}"

RATE = '{{ if ge $value 10.0 }}{{ printf "%.0f" $value }}{{ else }}\
{{ printf "%.2g" $value }}{{ end }} a second'


def owner(labels: str) -> str:
    """Return what says whose a network namespace is, of its labels."""
    return (
        f'{{{{ if {labels}.pod }}}}pod {{{{ printf "%s/%s" {labels}.namespace '
        f'{labels}.pod | printf "%q" }}}}'
        f'{{{{ else if {labels}.container }}}}container {{{{ printf "%q" '
        f"{labels}.container }}}}"
        f'{{{{ else if {labels}.uid }}}}pod of uid {{{{ printf "%q" {labels}.uid }}}}'
        f'{{{{ else if eq {labels}.netns "host" }}}}the host'
        f'{{{{ else }}}}network namespace {{{{ printf "%q" {labels}.netns }}}}'
        "{{ end }}"
    )


def further(labels: str) -> str:
    """Return which of an owner's network namespaces it is, where not its main one."""
    somebodys = " ".join(f"{labels}.{name}" for name in ("pod", "container", "uid"))
    return (
        f"{{{{ if and {labels}.netns (or {somebodys}) }}}} "
        f'(its network namespace {{{{ printf "%q" {labels}.netns }}}}){{{{ end }}}}'
    )


def count(thing: str) -> str:
    """Return the alert's value as a number of things."""
    return f"{NUMBER} {thing}{PLURAL}"


def matchers(labels: str, names: Iterable[str] = OF_OWNER) -> str:
    """
    Return what a Go template's printf makes matchers of: a format, then arguments.

    An empty label matches series that have none.
    """
    names = tuple(names)
    form = ",".join(f"{name}=%q" for name in names)
    return " ".join([f"`{form}`", *(f"{labels}.{name}" for name in names)])


def remember_owner() -> str:
    """
    Set a template's $owner to matchers of the alert's owner, no more than it takes.

    A server looks up each of them, and all that an empty one excludes. A pod's uid is
    its own on a node, but the pod may have several network namespaces.
    """
    of_pod = matchers(HERE, (*NODE, "uid", "netns"))
    return (
        f"{{{{ $owner := printf {matchers(HERE)} }}}}"
        f"{{{{ if {HERE}.uid }}}}{{{{ $owner = printf {of_pod} }}}}{{{{ end }}}}"
    )


def remember_node() -> str:
    """Set a template's $node to matchers of the alert's node."""
    return f"{{{{ $node := printf {matchers(HERE, NODE)} }}}}"


def query(expression: str, *arguments: str) -> str:
    """Return a pipeline that asks; *expression* has a %s for each of *arguments*."""
    return " ".join(["printf", f"`{expression}`", *arguments, "| query"])


def in_order(pipeline: str) -> str:
    """Return a query's owners in order of their names; the sorting is stable."""
    return f"{pipeline} | {' | '.join(f'sortByLabel `{one}`' for one in _NAMES)}"


_NAMES = ("netns", "container", "pod")


def number(pipeline: str, *, before: str = "", after: str = "") -> str:
    """Return the number that a query finds; nothing where it finds none."""
    value = '{{ . | first | value | printf "%.0f" }}'
    return f"{{{{ with {pipeline} }}}}{before}{value}{after}{{{{ end }}}}"


def found(pipeline: str, *parts: str) -> str:
    """Return *parts* of the first that a query finds, ONE; nothing without any."""
    return lines(f"{{{{ with {pipeline} }}}}{{{{ $one := first . }}}}", *parts, END)


def examples(pipeline: str, each: str, *, before: str = "", after: str = "") -> str:
    """Return *each* of what a query finds, of ONE, with commas between."""
    return lines(
        f"{{{{ with {pipeline} }}}}{before}",
        "{{ range $at, $one := . }}{{ if $at }},{{ end }}",
        f" {each}{{{{ end }}}}{after}{{{{ end }}}}",
    )


def lines(*parts: str) -> str:
    """
    Return a template that is one line for people and has one for each of *parts*.

    A space between two belongs at the beginning of the second.

    >>> print(lines("a", " b", "{{ $value }}"))
    a
    {{- "" }} b
    {{- $value }}
    """
    first, *others = filter(None, parts)
    return "\n".join([first, *(_continued(part) for part in others)])


def _continued(part: str) -> str:
    return (
        part.replace("{{", "{{-", 1) if part.startswith("{{ ") else '{{- "" }}' + part
    )
