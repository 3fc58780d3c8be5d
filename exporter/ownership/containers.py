"""Keep track of the containers of each namespace and of what they declare."""

from collections.abc import Mapping

from exporter.files.records import ContainerKey
from exporter.model import Ino
from exporter.ownership.attribution import Attribution
from exporter.ownership.claims import Facts
from exporter.ownership.declared import declared_values
from exporter.ownership.facts import FactsReader
from exporter.ownership.metadata import ContainerMetadata


class ContainerTracker:
    """Adds containers to the namespaces that they are in or have joined."""

    def __init__(self, metadata: ContainerMetadata, facts: FactsReader) -> None:
        self._metadata = metadata
        self._facts = facts

    def add_from_facts(self, attribution: Attribution, facts: Facts) -> None:
        """Add the containers of the processes in a namespace."""
        inside = [process for process in facts.processes if not process.is_visitor]
        found = [(p.cgroup.nested_in, p.container) for p in inside]
        found.append(("", facts.container))
        keys = {
            ContainerKey(scope, container_id)
            for scope, container in found
            if container
            for container_id in (container.container_id, container.network_of)
            if container_id
        }
        for key in sorted(keys):  # once each, however many processes it has
            attribution.add_container(key, self._metadata.bundle(key))
        self.update_declared(attribution)

    def add_new_bundles(self, attributions: Mapping[Ino, Attribution]) -> None:
        """Add the containers that were started in one of the namespaces."""
        for key, bundle in self._metadata.new_bundles:
            # A container or a user has no say in namespaces of the node.
            if key.scope or not bundle.sysctls or not bundle.netns_path:
                continue
            ino = self._facts.joined_netns(bundle)
            if ino is not None and ino in attributions:
                attributions[ino].add_container(key, bundle)

    def update_declared(self, attribution: Attribution) -> None:
        """Determine again what all containers of a namespace declare."""
        containers = attribution.containers
        if attribution.is_full:
            gone = [key for key in containers if not self._metadata.exists(key)]
            attribution.remove_containers(gone)
        for key in list(containers):
            for peer in self._metadata.network_peers(key):
                attribution.add_container(peer, None)
        merged = (self._metadata.merge(*item) for item in containers.items())
        attribution.set_declared(
            declared_values(filter(None, merged), self._metadata.pod_sysctls)
        )
