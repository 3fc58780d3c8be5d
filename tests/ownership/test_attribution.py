"""The state of one namespace's owner: its changes, holders and containers."""

import pytest

from exporter.discovery.nsfs_mounts import PrivateMount
from exporter.files.records import ContainerKey
from exporter.kernel.procfs import MountNs
from exporter.ownership.attribution import MAX_CONTAINERS, Attribution, Holders
from exporter.runtimes.records import Container
from tests.support.builders import CONTAINER, a_netns, an_owner

KEY = ContainerKey("", CONTAINER)
BUNDLE = Container(runtime="docker", container_id=CONTAINER, evidence="oci_bundle")
NOTHING = Holders(frozenset(), frozenset(), frozenset(), frozenset())
A_PRIVATE_MOUNT = PrivateMount("/x/red", 20, MountNs("mnt:[9]"))
FIRST = NOTHING._replace(pids=frozenset({10}))
BOTH = NOTHING._replace(pids=frozenset({10, 11}))
SECOND = NOTHING._replace(pids=frozenset({11}))


@pytest.fixture
def attribution() -> Attribution:
    return Attribution(a_netns(), 1.0, is_readable=True)


class TestRevision:
    """It grows with each change of what a snapshot shows, and only then."""

    def test_it_grows_with_a_change(self, attribution: Attribution) -> None:
        attribution.set_owner(an_owner())
        assert attribution.revision == 1

        attribution.set_owner(None)
        assert attribution.revision == 2

    def test_it_stays_where_nothing_changes(self, attribution: Attribution) -> None:
        attribution.set_owner(an_owner())
        attribution.set_owner(an_owner())
        attribution.set_declared(())
        attribution.add_container(KEY, None)

        assert attribution.revision == 1


class TestResolution:
    """When a namespace has to be resolved again."""

    def test_not_while_its_holders_are_the_same(self, attribution: Attribution) -> None:
        attribution.record_resolution(FIRST)
        attribution.set_owner(an_owner())

        assert attribution.is_resolved_from(FIRST)
        assert not attribution.is_resolved_from(BOTH)

    def test_always_without_an_owner(self, attribution: Attribution) -> None:
        attribution.record_resolution(FIRST)

        assert not attribution.is_resolved_from(FIRST)

    def test_when_it_is_needed(self, attribution: Attribution) -> None:
        attribution.record_resolution(FIRST)
        attribution.set_owner(an_owner())
        attribution.needs_resolution = True

        assert not attribution.is_resolved_from(FIRST)


class TestContinuity:
    """One common holder shows that a namespace is the same as in the last pass."""

    def test_holders_may_be_replaced_one_after_another(
        self, attribution: Attribution
    ) -> None:
        for holders in (FIRST, BOTH, SECOND):
            assert attribution.is_continued_by(holders)

    def test_without_a_common_holder_it_is_another_one(
        self, attribution: Attribution
    ) -> None:
        assert attribution.is_continued_by(FIRST)

        assert not attribution.is_continued_by(SECOND)

    @pytest.mark.parametrize(
        "holders",
        [
            NOTHING._replace(threads=frozenset({(20, 21)})),
            NOTHING._replace(mounts=frozenset({"/run/netns/blue"})),
            NOTHING._replace(private_mounts=frozenset({A_PRIVATE_MOUNT})),
        ],
        ids=["thread", "mount", "private mount"],
    )
    def test_any_kind_of_holder_will_do(
        self, attribution: Attribution, holders: Holders
    ) -> None:
        assert attribution.is_continued_by(holders._replace(pids=frozenset({10})))

        assert attribution.is_continued_by(holders)


class TestContainers:
    def test_a_bundle_is_added_to_a_known_container_and_kept(
        self, attribution: Attribution
    ) -> None:
        for bundle in (None, BUNDLE, None):
            attribution.add_container(KEY, bundle)

        assert attribution.containers == {KEY: BUNDLE}

    def test_there_is_a_limit_for_new_ones_only(self, attribution: Attribution) -> None:
        keys = [ContainerKey("", str(number)) for number in range(MAX_CONTAINERS + 1)]
        for key in keys:
            attribution.add_container(key, None)

        attribution.add_container(keys[0], BUNDLE)

        assert list(attribution.containers) == keys[:-1]
        assert attribution.containers[keys[0]] == BUNDLE


def test_a_namespace_that_became_readable_keeps_owner_and_containers(
    attribution: Attribution,
) -> None:
    attribution.set_owner(an_owner())
    attribution.add_container(KEY, BUNDLE)
    readable = Attribution(a_netns(2), 9.0, is_readable=True)

    readable.continue_from(attribution)

    assert readable.owner == an_owner()
    assert readable.containers == {KEY: BUNDLE}
    assert readable.first_seen == 1.0
    assert readable.netns == a_netns(2)
