"""Alerts about values: which sysctls differ, from what, and why. Pure: no I/O."""

from collections.abc import Iterator

from exporter.exposition import metrics
from mixin.alerts.annotations import (
    PLURAL,
    SAMPLE_LABELS,
    SAMPLE_VALUE,
    VALUE,
    count_of,
    for_each,
    join_lines,
    netns_suffix,
    owner_name,
    query,
    sort_by_owner,
)
from mixin.alerts.somaxconn import (
    NOT_DECLARED,
    OF_SOMAXCONN,
    below_host,
    without_listeners,
)
from mixin.promql import (
    NODE_LABELS,
    OWNER_LABELS,
    aggregate,
    indent,
    last_over_time,
    max_by,
    select,
)
from mixin.rules import Alert
from mixin.settings import Settings

IN_KUBERNETES = 'namespace!=""'
ELSEWHERE = 'namespace=""'

_SET_SCOPE = (
    "{{ $nodes := printf `cluster=%q` $labels.cluster }}{{ if $labels.instance }}"
    "{{ $nodes = printf `%s,instance=%q` $nodes $labels.instance }}{{ end }}"
    "{{ $where := printf `%s,namespace=%q` $nodes $labels.namespace }}"
)
"""Sets $where to matchers of what _count_namespaces() counted, $nodes to its nodes."""

_COUNT = (
    VALUE + " {{ if $labels.instance }}network namespace{{ else }}pod{{ end }}" + PLURAL
)
_WHERE = (
    "{{ if $labels.instance }}on {{ $labels.instance }}{{ else }}"
    'of namespace {{ printf "%q" $labels.namespace }}{{ end }}'
)
_EXAMPLE = (
    f"{owner_name(SAMPLE_LABELS)}{netns_suffix(SAMPLE_LABELS)} "
    f"on {{{{ {SAMPLE_LABELS}.instance }}}}"
)
_OF_CLUSTER = "{{ with $labels.cluster }} of {{ . }}{{ end }}"


def alerts(settings: Settings) -> Iterator[Alert]:
    """Yield the alerts about unexpected values."""
    yield _somaxconn_drift(settings)
    yield _policy_violation(settings)
    yield _inherited_stale(settings)
    yield _fresh_defaults_differ(settings)


def _count_namespaces(
    labels: tuple[str, ...], in_kubernetes: str, elsewhere: str
) -> str:
    """Return counts per Kubernetes namespace, or per node outside Kubernetes."""
    by_namespace = aggregate("count", ("cluster", "namespace", *labels), in_kubernetes)
    by_node = aggregate("count", ("cluster", "instance", *labels), elsewhere)
    return f"{by_namespace}\nor\n{by_node}"


def _max_inline(labels: tuple[str, ...], expression: str) -> str:
    return f"max by ({', '.join(labels)}) ({expression})"


def _somaxconn_drift(settings: Settings) -> Alert:
    def drifting(matcher: str) -> str:
        below = below_host(settings, matcher)
        return f"{below}\nunless\n{without_listeners(settings, matcher)}"

    example = f"{_EXAMPLE} with {SAMPLE_VALUE} (host {{{{ {SAMPLE_LABELS}.host }}}})"
    return Alert(
        name="NetnsSomaxconnDrift",
        expr=_count_namespaces((), drifting(IN_KUBERNETES), drifting(ELSEWHERE)),
        pending_for="1h",
        severity="info",
        summary=f"net.core.somaxconn is below the host's in {_COUNT} {_WHERE}.",
        description=join_lines(
            _SET_SCOPE,
            f"net.core.somaxconn is below the host's in {_COUNT} {_WHERE}",
            ", and that value is not declared: it is the kernel's default for new "
            "network namespaces, or something wrote it. Network namespaces without "
            "listeners are not counted.",
            for_each(
                sort_by_owner(_lowest_somaxconn(settings)),
                example,
                before=" Examples:",
                after=".",
            ),
        ),
    )


def _lowest_somaxconn(settings: Settings) -> str:
    """Return a query for the lowest somaxconn in $where, with a label `host`."""

    def maximum(labels: tuple[str, ...], selector: str) -> str:
        return _max_inline(labels, last_over_time(selector, settings.gap))

    drift = maximum(
        OWNER_LABELS, select(metrics.DRIFT, OF_SOMAXCONN, NOT_DECLARED, "%s")
    )
    listening = maximum(OWNER_LABELS, select(metrics.LISTENING, "%s"))
    lowest = f"bottomk({settings.examples}, {drift} < 0 unless {listening} == 0)"
    own = maximum(OWNER_LABELS, select(metrics.VALUE, OF_SOMAXCONN, "%s"))
    host = maximum(NODE_LABELS, select(metrics.HOST_VALUE, OF_SOMAXCONN, "%s"))
    node_labels = ", ".join(NODE_LABELS)
    as_label = f'count_values by ({node_labels}) ("host", {host})'
    joined = f"({own} and {lowest}) * on ({node_labels}) group_left (host) {as_label}"
    return query(joined, "$where", "$where", "$where", "$nodes")


def _policy_violation(settings: Settings) -> Alert:
    rule_labels = ("sysctl", "rule", "severity")

    def violated(matcher: str) -> str:
        violation = last_over_time(select(metrics.VIOLATION, matcher), settings.gap)
        return max_by((*OWNER_LABELS, *rule_labels), f"{violation} == 1")

    with_value = f"{{{{ with {SAMPLE_LABELS}.value }}}} with {{{{ . }}}}{{{{ end }}}}"
    return Alert(
        name="NetnsPolicyViolation",
        expr=_count_namespaces(
            rule_labels, violated(IN_KUBERNETES), violated(ELSEWHERE)
        ),
        pending_for="15m",
        severity="{{ $labels.severity }}",
        summary="{{ $labels.sysctl }} violates rule {{ $labels.rule }} in "
        f"{_COUNT} {_WHERE}.",
        description=join_lines(
            _SET_SCOPE,
            "{{ $labels.sysctl }} violates rule {{ $labels.rule }} of the policy",
            f" in {_COUNT} {_WHERE}",
            for_each(
                sort_by_owner(_violating_owners(settings)),
                f"{_EXAMPLE}{with_value}",
                before=", such as",
            ),
            ".",
        ),
    )


def _violating_owners(settings: Settings) -> str:
    """Return a query for some violations; label `value` if the value is a number."""
    owner_labels = ", ".join(OWNER_LABELS)
    violation = last_over_time(
        select(metrics.VIOLATION, "sysctl=%q", "rule=%q", "%s"), settings.gap
    )
    violating = _max_inline(OWNER_LABELS, f"{violation} == 1")
    value = last_over_time(
        select(metrics.VALUE, "sysctl=%q", 'field=""', "%s"), settings.gap
    )
    as_label = (
        f'count_values by ({owner_labels}) ("value", '
        f"{_max_inline(OWNER_LABELS, value)})"
    )
    with_value = f"{as_label} and on ({owner_labels}) {violating}"
    some = f"topk({settings.examples}, {with_value} or on ({owner_labels}) {violating})"
    sysctl, rule, where = "$labels.sysctl", "$labels.rule", "$where"
    return query(some, sysctl, where, sysctl, rule, where, sysctl, rule, where)


_STALE = 'origin="inherited_stale"'


def _inherited_stale(settings: Settings) -> Alert:
    drifting = last_over_time(select(metrics.DRIFTING, _STALE), settings.gap)
    by_node = max_by((*NODE_LABELS, "sysctl"), f"{drifting} > 0")
    count = count_of("network namespace")
    return Alert(
        name="NetnsSysctlInheritedStale",
        expr=aggregate("sum", ("cluster", "sysctl"), by_node),
        pending_for="1h",
        severity="info",
        summary="Outdated copy of the host's {{ $labels.sysctl }} in "
        f"{count}{_OF_CLUSTER}.",
        description=join_lines(
            *_set_stale_nodes(settings),
            f"The host's {{{{ $labels.sysctl }}}} changed on {_NODES}{_OF_CLUSTER} "
            f"after {count} copied it",
            *_stale_examples(settings),
            ". Existing network namespaces keep the old value until they are "
            "recreated.",
        ),
    )


_NODES = '{{ printf "%.0f" $nodes }} node{{ if ne $nodes 1.0 }}s{{ end }}'


def _set_stale_nodes(settings: Settings) -> Iterator[str]:
    """Yield the parts that set $nodes to the number of nodes with stale copies."""
    drifting = select(metrics.DRIFTING, _STALE, "sysctl=%q", "cluster=%q")
    stale = last_over_time(drifting, settings.gap)
    nodes = f"count(count by (instance) ({stale} > 0))"
    result = query(nodes, "$labels.sysctl", "$labels.cluster")
    yield "{{ $nodes := 0.0 }}"
    yield f"{{{{ range {result} }}}}{{{{ $nodes = .Value }}}}{{{{ end }}}}"


def _stale_examples(settings: Settings) -> Iterator[str]:
    """
    Yield the parts that name examples on few nodes, since all pods may be affected.

    There is one example per node, or several of a single node. A node that does not
    export its owners contributes their number.
    """
    drifting = select(metrics.DRIFTING, _STALE, "sysctl=%q", "cluster=%q")
    counts = _max_inline(("instance",), f"{last_over_time(drifting, settings.gap)} > 0")
    nodes = query(
        f"topk({settings.examples}, {counts})", "$labels.sysctl", "$labels.cluster"
    )
    drift = select(metrics.DRIFT, _STALE, "sysctl=%q", "cluster=%q", "instance=%q")
    differing = f"{last_over_time(drift, settings.gap)} != 0"
    stale = f"group by ({', '.join(OWNER_LABELS)}) ({differing})"
    scope = ("$labels.sysctl", "$labels.cluster", "$node.Labels.instance")
    owners = sort_by_owner(query(f"topk({settings.examples}, {stale})", *scope))
    yield '{{ $before := ", such as" }}'
    yield f"{{{{ range $node := {nodes} | sortByLabel `instance` }}}}"
    yield f"{{{{ range $index, $sample := {owners} }}}}"
    yield "{{ if or (eq $nodes 1.0) (eq $index 0) }}"
    yield f'{{{{ $before }}}} {_EXAMPLE}{{{{ $before = "," }}}}{{{{ end }}}}'
    yield '{{ else }}{{ $before }} {{ printf "%.0f" $node.Value }}'
    yield ' on {{ $node.Labels.instance }}{{ $before = "," }}{{ end }}{{ end }}'


def _fresh_defaults_differ(settings: Settings) -> Alert:
    labels = ("cluster", "sysctl", "field")
    fresh = last_over_time(metrics.FRESH_VALUE.name, settings.gap)
    constant = last_over_time(
        select(metrics.SYSCTL_INFO, 'class="constant"'), settings.gap
    )
    highest = indent(aggregate("max", labels, fresh))
    lowest = indent(aggregate("min", labels, fresh))
    sysctl = "{{ $labels.sysctl }}{{ with $labels.field }} ({{ . }}){{ end }}"
    return Alert(
        name="NetnsFreshDefaultsDiffer",
        expr=f"(\n{highest}\n  !=\n{lowest}\n)\nand on (cluster, sysctl)\n{constant}",
        pending_for="1h",
        severity="info",
        summary=f"The default of {sysctl} in new network namespaces differs between "
        f"nodes{_OF_CLUSTER}.",
        description=join_lines(
            f"The default of {sysctl} in new network namespaces depends on the kernel, "
            f"and the kernels of the nodes{_OF_CLUSTER} differ",
            _default_values(settings),
            ". The same pod gets a different value depending on its node.",
        ),
    )


def _default_values(settings: Settings) -> str:
    """Return each default, the number of nodes with it, and an example of them."""
    matchers = ("cluster=%q", "sysctl=%q", "field=%q")
    labels = ("$labels.cluster", "$labels.sysctl", "$labels.field")
    fresh = last_over_time(select(metrics.FRESH_VALUE, *matchers), settings.gap)
    by_node = _max_inline(NODE_LABELS, fresh)
    kernel = last_over_time(
        select(metrics.KERNEL_INFO, "cluster=%q", "instance=%q"), settings.gap
    )
    release = query(kernel, "$labels.cluster", ".Labels.instance")
    nodes = query(f"{by_node} == %s", *labels, f"{SAMPLE_LABELS}.value")
    text = join_lines(
        f"{{{{ {SAMPLE_LABELS}.value }}}} on {{{{ $sample.Value }}}} of them",
        f"{{{{ with {nodes} }}}}",
        "{{ with . | sortByLabel `instance` | first }} (such as {{ .Labels.instance }}",
        f"{{{{ range {release} }}}}, Linux {{{{ .Labels.release }}}}{{{{ end }}}})"
        "{{ end }}{{ end }}",
    )
    values = query(f'count_values("value", {by_node})', *labels)
    return for_each(f"{values} | sortByLabel `value`", text, before=":")
