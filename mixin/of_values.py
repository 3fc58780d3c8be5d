"""The alerts about values: what differs, from what, and why. Pure."""

from collections.abc import Iterator

from exporter import metrics
from exporter.harm import SOMAXCONN
from mixin import texts
from mixin.promql import NODE, OF_OWNER, by, indented, latest, once, select
from mixin.rules import Alert
from mixin.settings import Settings
from mixin.texts import ONE, examples, lines, query

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
    are two series of it for a moment: the one nearer to the host's counts.
    """
    drift = select(metrics.DRIFT, OF_SOMAXCONN, NOT_ASKED_FOR, *where)
    return f"{once(OF_OWNER, latest(drift, settings.gap))} < 0"


def own_somaxconn(settings: Settings, labels: str) -> str:
    """Return a query of an owner's somaxconn."""
    value = select(metrics.VALUE, OF_SOMAXCONN, "%s")
    return query(latest(value, settings.gap), f"(printf {texts.matchers(labels)})")


def hosts_somaxconn(settings: Settings, labels: str) -> str:
    """Return a query of the somaxconn of an owner's host."""
    host = select(metrics.HOST_VALUE, OF_SOMAXCONN, "%s")
    return query(latest(host, settings.gap), f"(printf {texts.matchers(labels, NODE)})")


def _shared(labels: tuple[str, ...], in_kubernetes: str, elsewhere: str) -> str:
    """Return how many there are, by Kubernetes namespace, or by node without one."""
    one = by("count", ("cluster", "namespace", *labels), in_kubernetes)
    other = by("count", ("cluster", "instance", *labels), elsewhere)
    return f"{one}\nor\n{other}"


_AMONG = (
    "{{ $where := printf `cluster=%q,namespace=%q` $labels.cluster $labels.namespace }}"
    "{{ if $labels.instance }}"
    "{{ $where = printf `%s,instance=%q` $where $labels.instance }}{{ end }}"
)
"""Sets what _shared() counted together, as matchers."""

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
    drift = select(metrics.DRIFT, OF_SOMAXCONN, NOT_ASKED_FOR, "%s")
    lowest = (
        f"bottomk({settings.examples}, max by ({', '.join(OF_OWNER)}) "
        f"({latest(drift, settings.gap)}) < 0)"
    )
    each = lines(
        _EACH,
        texts.number(own_somaxconn(settings, ONE), before=" with "),
        texts.number(hosts_somaxconn(settings, ONE), before=" (host ", after=")"),
    )
    return Alert(
        name="NetnsSomaxconnDrift",
        expr=_shared(
            (),
            below_host(settings, IN_KUBERNETES),
            below_host(settings, ELSEWHERE),
        ),
        wait="1h",
        severity="info",
        summary=f"net.core.somaxconn is below the host's in {_HOW_MANY} {_WHERE}.",
        description=lines(
            _AMONG,
            f"In {_HOW_MANY} {_WHERE}",
            " net.core.somaxconn is below the host's, and nobody asked for that: it is "
            "what the kernel gives a new network namespace, whatever the host has, or "
            "something wrote it.",
            examples(
                f"{query(lowest, '$where')} | sortByLabel `pod`",
                each,
                before=" Such as",
                after=".",
            ),
        ),
    )


def _policy_violation(settings: Settings) -> Alert:
    rule = ("sysctl", "rule", "severity")

    def violated(where: str) -> str:
        violation = latest(select(metrics.VIOLATION, where), settings.gap)
        return f"{once((*OF_OWNER, *rule), violation)} == 1"

    of_rule = select(metrics.VIOLATION, "%s", "sysctl=%q", "rule=%q")
    some = (
        f"topk({settings.examples}, max by ({', '.join(OF_OWNER)}) "
        f"({latest(of_rule, settings.gap)}) == 1)"
    )
    found = query(some, "$where", "$labels.sysctl", "$labels.rule")
    value = latest(select(metrics.VALUE, "sysctl=%q", 'field=""', "%s"), settings.gap)
    number = query(value, "$labels.sysctl", f"(printf {texts.matchers(ONE)})")
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
                f"{found} | sortByLabel `pod`",
                lines(_EACH, texts.number(number, before=" with ")),
                before=", such as",
            ),
            ".",
        ),
    )


def _inherited_stale(settings: Settings) -> Alert:
    stale = 'origin="inherited_stale"'
    counted = latest(select(metrics.DRIFTING, stale), settings.gap)
    each = select(metrics.DRIFT, stale, "sysctl=%q", "cluster=%q", "instance=%q")
    some = (
        f"topk({settings.examples}, group by ({', '.join(OF_OWNER)}) "
        f"({latest(each, settings.gap)} != 0))"
    )
    found = query(some, "$labels.sysctl", "$labels.cluster", "$labels.instance")
    many = texts.count("network namespace")
    return Alert(
        name="NetnsSysctlInheritedStale",
        expr=f"{once(('cluster', 'instance', 'sysctl'), counted)} > 0",
        wait="1h",
        severity="info",
        summary=f"{{{{ $labels.sysctl }}}} in {many} on {{{{ $labels.instance }}}} is "
        "what the host had before.",
        description=lines(
            "The host's {{ $labels.sysctl }} on {{ $labels.instance }} changed after "
            f"{many} had copied it",
            examples(
                f"{found} | sortByLabel `pod`",
                texts.owner(ONE) + texts.further(ONE),
                before=":",
            ),
            ". A copy does not follow: they have the new value once they are made "
            "anew.",
        ),
    )


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
