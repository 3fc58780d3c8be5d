"""The alerts about values: what differs, from what, and why. Pure."""

from collections.abc import Iterator

from exporter import metrics
from exporter.harm import SOMAXCONN
from mixin.alerts import annotations as texts
from mixin.alerts.annotations import ONE, examples, lines, query
from mixin.promql import NODE, OF_OWNER, by, indented, latest, once, select
from mixin.rules import Alert
from mixin.settings import Settings

NOT_ASKED_FOR = 'origin=~"fresh_default|overridden|modified"'
"""Not declared, and neither the host's variable nor a copy of the host's."""

OF_SOMAXCONN = f'sysctl="{SOMAXCONN}"'

IN_KUBERNETES = 'namespace!=""'
ELSEWHERE = 'namespace=""'


def alerts(settings: Settings) -> Iterator[Alert]:
    """Yield those that say that a value is not what one would think."""
    yield _somaxconn_drift(settings)
    yield _policy_violation(settings)
    yield _inherited_stale(settings)
    yield _fresh_defaults_differ(settings)


def below_host(settings: Settings, *where: str) -> str:
    """
    Return the owners whose somaxconn is below the host's though nobody asked for it.

    The value is how much, below 0. Where a value's origin changed within the gap there
    are two series of it for a moment: the one nearer to the host's counts, so this
    compares after it aggregated.
    """
    drift = select(metrics.DRIFT, OF_SOMAXCONN, NOT_ASKED_FOR, *where)
    return f"{once(OF_OWNER, latest(drift, settings.gap))} < 0"


def listening_to_nothing(settings: Settings, *where: str) -> str:
    """
    Return the owners of whom it is known that they do; none where nobody looks.

    Of two that look, both have to say so.
    """
    listening = select(metrics.LISTENING, *where)
    return f"{once(OF_OWNER, latest(listening, settings.gap))} == 0"


def own_somaxconn(settings: Settings) -> str:
    """Return a query of the somaxconn of a template's $owner."""
    value = select(metrics.VALUE, OF_SOMAXCONN, "%s")
    return query(latest(value, settings.gap), "$owner")


def both_somaxconn(settings: Settings) -> str:
    """Return a query of $owner's somaxconn, whose label `host` is that of $node."""
    own = latest(select(metrics.VALUE, OF_SOMAXCONN, "%s"), settings.gap)
    host = latest(select(metrics.HOST_VALUE, OF_SOMAXCONN, "%s"), settings.gap)
    as_label = f'count_values("host", max({host}))'
    both = f"max({own}) * on () group_left (host) {as_label}"
    return query(both, "$owner", "$node")


def _shared(labels: tuple[str, ...], in_kubernetes: str, elsewhere: str) -> str:
    """Return how many there are, by Kubernetes namespace, or by node without one."""
    one = by("count", ("cluster", "namespace", *labels), in_kubernetes)
    other = by("count", ("cluster", "instance", *labels), elsewhere)
    return f"{one}\nor\n{other}"


_AMONG = (
    "{{ $nodes := printf `cluster=%q` $labels.cluster }}{{ if $labels.instance }}"
    "{{ $nodes = printf `%s,instance=%q` $nodes $labels.instance }}{{ end }}"
    "{{ $where := printf `%s,namespace=%q` $nodes $labels.namespace }}"
)
"""Sets what _shared() counted together, as matchers; $nodes: where that may be."""

_HOW_MANY = (
    texts.NUMBER
    + " {{ if $labels.instance }}network namespace{{ else }}pod{{ end }}"
    + texts.PLURAL
)
_WHERE = (
    "{{ if $labels.instance }}on {{ $labels.instance }}{{ else }}"
    'of namespace {{ printf "%q" $labels.namespace }}{{ end }}'
)
_EACH = f"{texts.owner(ONE)}{texts.further(ONE)} on {{{{ {ONE}.instance }}}}"


def _somaxconn_drift(settings: Settings) -> Alert:
    def counted(where: str) -> str:
        below = below_host(settings, where)
        return f"{below}\nunless\n{listening_to_nothing(settings, where)}"

    each = f"{_EACH} with {texts.VALUE} (host {{{{ {ONE}.host }}}})"
    return Alert(
        name="NetnsSomaxconnDrift",
        expr=_shared((), counted(IN_KUBERNETES), counted(ELSEWHERE)),
        wait="1h",
        severity="info",
        summary=f"net.core.somaxconn is below the host's in {_HOW_MANY} {_WHERE}.",
        description=lines(
            _AMONG,
            f"In {_HOW_MANY} {_WHERE}",
            " net.core.somaxconn is below the host's, and nobody asked for that: it is "
            "what the kernel gives a new network namespace, whatever the host has, or "
            "something wrote it. What listens on nothing is not counted.",
            examples(
                texts.in_order(_lowest(settings)),
                each,
                before=" Such as",
                after=".",
            ),
        ),
    )


def _lowest(settings: Settings) -> str:
    """Return a query of the lowest somaxconn in $where, with label `host`."""

    def inline(labels: tuple[str, ...], *selector: str) -> str:
        return (
            f"max by ({', '.join(labels)}) ({latest(''.join(selector), settings.gap)})"
        )

    drift = inline(OF_OWNER, select(metrics.DRIFT, OF_SOMAXCONN, NOT_ASKED_FOR, "%s"))
    listening = inline(OF_OWNER, select(metrics.LISTENING, "%s"))
    some = f"bottomk({settings.examples}, {drift} < 0 unless {listening} == 0)"
    own = inline(OF_OWNER, select(metrics.VALUE, OF_SOMAXCONN, "%s"))
    hosts = inline(NODE, select(metrics.HOST_VALUE, OF_SOMAXCONN, "%s"))
    of_node = ", ".join(NODE)
    as_label = f'count_values by ({of_node}) ("host", {hosts})'
    both = f"({own} and {some}) * on ({of_node}) group_left (host) {as_label}"
    return query(both, "$where", "$where", "$where", "$nodes")


def _policy_violation(settings: Settings) -> Alert:
    rule = ("sysctl", "rule", "severity")

    def violated(where: str) -> str:
        violation = latest(select(metrics.VIOLATION, where), settings.gap)
        return once((*OF_OWNER, *rule), f"{violation} == 1")

    return Alert(
        name="NetnsPolicyViolation",
        expr=_shared(rule, violated(IN_KUBERNETES), violated(ELSEWHERE)),
        wait="15m",
        severity="{{ $labels.severity }}",
        summary="{{ $labels.sysctl }} violates rule {{ $labels.rule }} in "
        f"{_HOW_MANY} {_WHERE}.",
        description=lines(
            _AMONG,
            "{{ $labels.sysctl }} is not what rule {{ $labels.rule }} of the policy "
            "wants",
            f" in {_HOW_MANY} {_WHERE}",
            examples(
                texts.in_order(_violators(settings)),
                f"{_EACH}{{{{ with {ONE}.value }}}} with {{{{ . }}}}{{{{ end }}}}",
                before=", such as",
            ),
            ".",
        ),
    )


def _violators(settings: Settings) -> str:
    """Return a query of some that violate; label `value` where it is one number."""
    of_owner = ", ".join(OF_OWNER)
    of_rule = latest(
        select(metrics.VIOLATION, "sysctl=%q", "rule=%q", "%s"), settings.gap
    )
    all_of_them = f"max by ({of_owner}) ({of_rule} == 1)"
    value = latest(select(metrics.VALUE, "sysctl=%q", 'field=""', "%s"), settings.gap)
    as_label = f'count_values by ({of_owner}) ("value", max by ({of_owner}) ({value}))'
    told = f"{as_label} and on ({of_owner}) {all_of_them}"
    some = f"topk({settings.examples}, {told} or on ({of_owner}) {all_of_them})"
    sysctl, rule, where = "$labels.sysctl", "$labels.rule", "$where"
    return query(some, sysctl, where, sysctl, rule, where, sysctl, rule, where)


_STALE = 'origin="inherited_stale"'


def _inherited_stale(settings: Settings) -> Alert:
    counted = latest(select(metrics.DRIFTING, _STALE), settings.gap)
    of_node = once(("cluster", "instance", "sysctl"), f"{counted} > 0")
    many = texts.count("network namespace")
    among = "{{ with $labels.cluster }} of {{ . }}{{ end }}"
    return Alert(
        name="NetnsSysctlInheritedStale",
        expr=by("sum", ("cluster", "sysctl"), of_node),
        wait="1h",
        severity="info",
        summary=f"{{{{ $labels.sysctl }}}} in {many}{among} is what the host had "
        "before.",
        description=lines(
            *_nodes_with_stale(settings),
            f"The host's {{{{ $labels.sysctl }}}} changed on {_NODES}{among} after "
            f"{many} had copied it",
            *_stale_examples(settings),
            ". A copy does not follow: they have the new value once they are made "
            "anew.",
        ),
    )


_NODES = '{{ printf "%.0f" $nodes }} node{{ if ne $nodes 1.0 }}s{{ end }}'


def _nodes_with_stale(settings: Settings) -> Iterator[str]:
    """Yield what sets $nodes: how many there are."""
    here = select(metrics.DRIFTING, _STALE, "sysctl=%q", "cluster=%q")
    counted = f"count(count by (instance) ({latest(here, settings.gap)} > 0))"
    found = query(counted, "$labels.sysctl", "$labels.cluster")
    yield "{{ $nodes := 0.0 }}"
    yield f"{{{{ range {found} }}}}{{{{ $nodes = .Value }}}}{{{{ end }}}}"


def _stale_examples(settings: Settings) -> Iterator[str]:
    """
    Yield some of them, of few nodes, since they may be all pods of a cluster.

    One of each, or several of the only one; of a node that does not show who, how many.
    """
    here = select(metrics.DRIFTING, _STALE, "sysctl=%q", "cluster=%q")
    most = f"max by (instance) ({latest(here, settings.gap)} > 0)"
    nodes = query(
        f"topk({settings.examples}, {most})", "$labels.sysctl", "$labels.cluster"
    )
    drift = select(metrics.DRIFT, _STALE, "sysctl=%q", "cluster=%q", "instance=%q")
    stale = f"group by ({', '.join(OF_OWNER)}) ({latest(drift, settings.gap)} != 0)"
    there = ("$labels.sysctl", "$labels.cluster", "$node.Labels.instance")
    some = query(f"topk({settings.examples}, {stale})", *there)
    yield '{{ $before := ", such as" }}'
    yield f"{{{{ range $node := {nodes} | sortByLabel `instance` }}}}"
    yield f"{{{{ range $at, $one := {texts.in_order(some)} }}}}"
    yield "{{ if or (eq $nodes 1.0) (eq $at 0) }}"
    yield f'{{{{ $before }}}} {_EACH}{{{{ $before = "," }}}}{{{{ end }}}}'
    yield '{{ else }}{{ $before }} {{ printf "%.0f" $node.Value }}'
    yield ' on {{ $node.Labels.instance }}{{ $before = "," }}{{ end }}{{ end }}'


def _fresh_defaults_differ(settings: Settings) -> Alert:
    of_field = ("cluster", "sysctl", "field")
    fresh = latest(metrics.FRESH_VALUE.name, settings.gap)
    constant = latest(select(metrics.SYSCTL_INFO, 'class="constant"'), settings.gap)
    highest = indented(by("max", of_field, fresh))
    lowest = indented(by("min", of_field, fresh))
    name = "{{ $labels.sysctl }}{{ with $labels.field }} ({{ . }}){{ end }}"
    among = "{{ with $labels.cluster }} of {{ . }}{{ end }}"
    return Alert(
        name="NetnsFreshDefaultsDiffer",
        expr=f"(\n{highest}\n  !=\n{lowest}\n)\nand on (cluster, sysctl)\n{constant}",
        wait="1h",
        severity="info",
        summary=f"New network namespaces get another {name} on some nodes{among} than "
        "on others.",
        description=lines(
            f"{name} of a new network namespace is its kernel's own, and the nodes"
            f"{among} have kernels that differ",
            _fresh_values(settings),
            ". The same pod gets another value, depending on where it runs.",
        ),
    )


def _fresh_values(settings: Settings) -> str:
    """Return each value that there is, on how many nodes, and one of them."""
    here = ("cluster=%q", "sysctl=%q", "field=%q")
    labels = ("$labels.cluster", "$labels.sysctl", "$labels.field")
    fresh = latest(select(metrics.FRESH_VALUE, *here), settings.gap)
    by_node = f"max by (cluster, instance) ({fresh})"
    kernel = select(metrics.KERNEL_INFO, "cluster=%q", "instance=%q")
    of_node = query(latest(kernel, settings.gap), "$labels.cluster", ".Labels.instance")
    with_it = query(f"{by_node} == %s", *labels, "$one.Labels.value")
    each = lines(
        "{{ $one.Labels.value }} on {{ $one.Value }} of them",
        f"{{{{ with {with_it} }}}}",
        "{{ with . | sortByLabel `instance` | first }} (such as {{ .Labels.instance }}",
        f"{{{{ range {of_node} }}}}, Linux {{{{ .Labels.release }}}}{{{{ end }}}})"
        "{{ end }}{{ end }}",
    )
    values = query(f'count_values("value", {by_node})', *labels)
    return examples(f"{values} | sortByLabel `value`", each, before=":")
