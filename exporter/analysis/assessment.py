"""
Assess a snapshot: everything that is derived from it, each part once. Pure.

`assess(snapshot)` is what reports, pages and commands read. Each attribute of a
NamespaceAssessment is computed when it is first read, and kept, so nothing is computed
that a caller does not need:

    assessment = assess(snapshot)
    for namespace in assessment.namespaces:
        namespace.namespace.owner, namespace.origins, namespace.findings
    pod = assessment.of(snapshot.namespaces[1])
    pod.origins, pod.limits, pod.verdicts, pod.health

The exposition, which decodes only the namespaces that changed, makes a
NamespaceAssessment of each of those, without signals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from exporter.analysis.drift import (
    Finding,
    References,
    findings,
    is_comparable,
    namespace_origins,
    node_references,
    noteworthy_sysctls,
)
from exporter.analysis.health import Health, has_own_signals, namespace_health
from exporter.analysis.policy import Verdict, verdicts
from exporter.analysis.saturation import NamespaceLimits, namespace_limits
from exporter.model import Namespace, NodeInfo, Origin, Signals, Snapshot


@dataclass(frozen=True, eq=False, kw_only=True)
class NamespaceAssessment:
    """
    One namespace, compared with the references of its node.

    Attributes:
        node: Its node: the sysctls, the policy, the limits of the machine.
        references: What the values are compared with.
        namespace: The namespace itself.
        signals: Its signals, None where they were not collected.

    """

    node: NodeInfo
    references: References
    namespace: Namespace
    signals: Signals | None = None

    @cached_property
    def is_comparable(self) -> bool:
        """Whether its values are compared with the references and the policy."""
        return is_comparable(self.namespace)

    @cached_property
    def has_own_signals(self) -> bool:
        """Whether signals of the namespace are those of its owner's programs."""
        return has_own_signals(self.namespace)

    @cached_property
    def origins(self) -> tuple[Origin | None, ...]:
        """The origin of each reading, following NodeInfo.sysctls; also the host's."""
        return namespace_origins(
            self.references, self.namespace.readings, self.namespace.declared
        )

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Each value compared with the host's, () unless it is comparable."""
        if not self.is_comparable:
            return ()
        return tuple(findings(self.references, self.namespace.readings, self.origins))

    @cached_property
    def noteworthy_sysctls(self) -> frozenset[str]:
        """The sysctls that differ or were set, none unless it is comparable."""
        if not self.is_comparable:
            return frozenset()
        return noteworthy_sysctls(self.references, self.origins, self.findings)

    @cached_property
    def limits(self) -> NamespaceLimits:
        """The limits that its signals are compared with."""
        return namespace_limits(
            self.node.sysctls, self.namespace, self.origins, self.node.machine
        )

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts of the node's policy, () unless it is comparable."""
        if not self.is_comparable or not self.node.policy:
            return ()
        return tuple(verdicts(self.node.policy, self.references, self.namespace))

    @cached_property
    def health(self) -> Health | None:
        """All its signals, None where there are none of its owner's programs."""
        if self.signals is None or not self.has_own_signals:
            return None
        return namespace_health(self.signals, self.limits, self.node.counters)


@dataclass(frozen=True, eq=False)
class NodeAssessment:
    """
    A snapshot, assessed.

    Attributes:
        snapshot: The snapshot itself.
        references: What the values of its namespaces are compared with.
        namespaces: The assessments, following Snapshot.namespaces.

    """

    snapshot: Snapshot
    references: References
    namespaces: tuple[NamespaceAssessment, ...]

    def of(self, namespace: Namespace) -> NamespaceAssessment:
        """
        Return the assessment of *namespace*.

        That of a namespace which is not in the snapshot (it ended in the meantime)
        has no signals.
        """
        return self._by_identity.get(id(namespace)) or NamespaceAssessment(
            node=self.snapshot, references=self.references, namespace=namespace
        )

    @cached_property
    def _by_identity(self) -> dict[int, NamespaceAssessment]:
        return {id(entry.namespace): entry for entry in self.namespaces}


def assess(snapshot: Snapshot) -> NodeAssessment:
    """Return the assessment of *snapshot*; computes nothing but its references."""
    references = node_references(snapshot, next(iter(snapshot.namespaces), None))
    signals: Sequence[Signals | None] = snapshot.signals
    missing = (None,) * (len(snapshot.namespaces) - len(signals))
    pairs = zip(snapshot.namespaces, (*signals, *missing), strict=False)
    return NodeAssessment(
        snapshot,
        references,
        tuple(
            NamespaceAssessment(
                node=snapshot,
                references=references,
                namespace=namespace,
                signals=own_signals,
            )
            for namespace, own_signals in pairs
        ),
    )
