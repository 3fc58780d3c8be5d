"""The content of the catalog, and that a configuration reaches nothing else."""

import contextlib
import os
import re
from fnmatch import fnmatch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.catalog import Entry, UnknownSysctlError, expand, load, parse, select
from exporter.counters import COUNTERS, RESOURCES, signal_names
from exporter.kernel.sysctl_readings import sysctl_path

CATALOG = load()
NAMES = [entry.name for entry in CATALOG]
DEFAULT = [entry.name for entry in CATALOG if entry.profile == "default"]

FORBIDDEN = [
    "net.ipv4.tcp_fastopen_key*",
    "*stable_secret*",
    "*rss_key*",
    "*hash_seed*",
    "*route.flush*",
]


def entries(text: str) -> list[Entry]:
    return parse(text.encode())


class TestContents:
    """The list itself."""

    def test_names_are_unique(self) -> None:
        assert len(set(NAMES)) == len(NAMES)

    def test_only_entries_with_several_numbers_have_fields(self) -> None:
        wrong = [e.name for e in CATALOG if bool(e.fields) != (e.kind == "ints")]

        assert not wrong

    def test_fields_are_unique_labels(self) -> None:
        for entry in CATALOG:
            assert len(set(entry.fields)) == len(entry.fields) != 1
            assert all(re.fullmatch("[a-z_]+", field) for field in entry.fields)

    def test_the_default_profile_has_about_forty_and_begins_with_somaxconn(
        self,
    ) -> None:
        assert 40 <= len(DEFAULT) <= 50
        assert NAMES[0] == DEFAULT[0] == "net.core.somaxconn"

    def test_the_default_profile_comes_first(self) -> None:
        """Entries at the end of the list lose their open files first."""
        assert NAMES[: len(DEFAULT)] == DEFAULT

    @pytest.mark.parametrize("secret", FORBIDDEN)
    def test_secrets_and_write_only_files_are_not_in_it(self, secret: str) -> None:
        assert not [name for name in NAMES if fnmatch(name, secret)]

    def test_shared_sysctls_are_set_on_the_node(self) -> None:
        shared = [e for e in CATALOG if e.class_ == "shared"]

        assert shared
        assert {e.settable_by for e in shared} == {"node"}

    def test_every_purpose_is_one_short_sentence(self) -> None:
        """It has to fit into a table cell."""
        wrong = [e.name for e in CATALOG if not re.fullmatch(r".{9,119}\.", e.why)]

        assert not wrong

    def test_signals_exist_and_are_named_once(self) -> None:
        for entry in CATALOG:
            assert set(entry.harm) <= signal_names()
            assert len(set(entry.harm)) == len(entry.harm)

    def test_counters_of_losses_belong_to_a_sysctl(self) -> None:
        """Except those of tcp_max_orphans and tcp_mem, which are the machine's."""
        tied = {signal for entry in CATALOG for signal in entry.harm}
        lost = {entry.name for entry in COUNTERS if entry.lost and entry.default}

        assert lost - tied == {"TcpExt.TCPAbortOnMemory"}
        assert set(RESOURCES) <= tied

    def test_a_sysctl_has_the_attributes_of_its_entry(self) -> None:
        for entry in CATALOG:
            sysctl = entry.sysctl()
            for field in msgspec.structs.fields(sysctl):
                assert getattr(sysctl, field.name) == getattr(entry, field.name)


class TestPaths:
    """A name becomes a path by turning dots into slashes, without loss."""

    @pytest.mark.parametrize("procfs", ["/proc", "/host/proc"])
    def test_every_file_is_below_sys_net(self, procfs: str) -> None:
        for path in (sysctl_path(name, procfs) for name in NAMES):
            assert path.startswith(f"{procfs}/sys/net/")
            assert os.path.normpath(path) == path

    def test_no_path_component_contains_a_dot_or_is_empty(self) -> None:
        for name in NAMES:
            assert re.fullmatch(r"net(\.[a-z0-9][a-z0-9_-]*)+", name)

    def test_a_path_leads_back_to_its_name(self) -> None:
        paths = [
            sysctl_path(name, "/proc").removeprefix("/proc/sys/") for name in NAMES
        ]

        assert [path.replace("/", ".") for path in paths] == NAMES


class TestParse:
    """The format of the file."""

    ENTRY = "{name: net.a, kind: int, class: constant, settable_by: pod, why: Why.}"

    def test_optional_keys_have_defaults(self) -> None:
        (entry,) = entries(f"[{self.ENTRY}]")

        assert entry == Entry(
            name="net.a", kind="int", class_="constant", settable_by="pod", why="Why."
        )
        assert (entry.profile, entry.comparable) == ("all", True)
        assert (entry.fields, entry.harm) == ((), ())

    def test_drift_false_means_not_comparable(self) -> None:
        (entry,) = entries(f"[{self.ENTRY[:-1]}, drift: false}}]")

        assert not entry.sysctl().comparable

    def test_a_name_with_braces_is_an_entry_for_each_alternative(self) -> None:
        text = self.ENTRY.replace("net.a", "'net.{a,b}.c'")

        assert [e.name for e in entries(f"[{text}]")] == ["net.a.c", "net.b.c"]

    @pytest.mark.parametrize(
        "wrong",
        [
            ENTRY.replace("kind: int", "kind: integer"),
            ENTRY.replace("class: constant", "class: global"),
            ENTRY.replace("settable_by: pod", "settable_by: me"),
            ENTRY.replace(", why: Why.", ""),
            f"{ENTRY[:-1]}, sysctl: x}}",
            f"{ENTRY[:-1]}, profile: most}}",
        ],
    )
    def test_an_invalid_entry_is_an_error(self, wrong: str) -> None:
        with pytest.raises(msgspec.ValidationError):
            entries(f"[{wrong}]")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("net.core.somaxconn", ["net.core.somaxconn"]),
        ("net.{a,b}", ["net.a", "net.b"]),
        ("net.{a}", ["net.a"]),
        ("{a,b}.x.{c,d}", ["a.x.c", "a.x.d", "b.x.c", "b.x.d"]),
        ("nf_log.{0,1,10}", ["nf_log.0", "nf_log.1", "nf_log.10"]),
    ],
)
def test_braces_stand_for_one_name_per_alternative(name: str, names: list[str]) -> None:
    assert list(expand(name)) == names


def chosen(
    *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> list[str]:
    found = select(CATALOG, profile="default", include=include, exclude=exclude)
    return [entry.name for entry in found]


class TestSelect:
    """Profile, then include, then exclude."""

    def test_the_default_profile_is_selected(self) -> None:
        assert chosen() == DEFAULT

    def test_the_profile_all_is_the_whole_catalog(self) -> None:
        assert select(CATALOG, profile="all", include=(), exclude=()) == CATALOG

    def test_include_adds_to_the_profile(self) -> None:
        added = "net.core.txrehash"

        assert added not in DEFAULT
        assert chosen(include=(added,)) == [*DEFAULT, added]

    def test_include_of_a_selected_sysctl_changes_nothing(self) -> None:
        assert chosen(include=("net.core.somaxconn",)) == DEFAULT

    def test_a_glob_includes_everything_it_matches(self) -> None:
        bridges = [name for name in NAMES if name.startswith("net.bridge.")]

        assert bridges
        assert chosen(include=("net.bridge.*",)) == [*DEFAULT, *bridges]

    def test_exclude_removes_from_the_profile(self) -> None:
        assert chosen(exclude=("net.core.somaxconn",)) == DEFAULT[1:]

    def test_exclude_wins(self) -> None:
        both = ("net.bridge.*",)

        assert chosen(include=both, exclude=both) == DEFAULT

    def test_everything_may_be_excluded(self) -> None:
        assert chosen(exclude=("*",)) == []

    def test_the_order_is_the_catalogs_not_the_globs(self) -> None:
        globs = ("net.netfilter.*", "net.core.*", "net.bridge.*")

        found = chosen(include=globs)

        assert found == sorted(found, key=NAMES.index)

    @pytest.mark.parametrize("glob", ["net/core/txrehash", "net/core/tx*"])
    def test_slashes_are_dots(self, glob: str) -> None:
        assert "net.core.txrehash" in chosen(include=(glob,))
        assert chosen(include=("net.core.txrehash",), exclude=(glob,)) == DEFAULT

    @pytest.mark.parametrize(
        ("unknown", "nearest"),
        [
            ("net.core.somaxcon", "net.core.somaxconn"),
            ("net/core/somaxcon", "net.core.somaxconn"),
            ("somaxconn", "net.core.somaxconn"),
            ("net.ipv4.tcp_rmen", "net.ipv4.tcp_rmem"),
        ],
    )
    def test_a_glob_without_a_match_is_an_error_with_the_nearest_name(
        self, unknown: str, nearest: str
    ) -> None:
        message = re.escape(f"{unknown!r}; did you mean {nearest!r}?") + "$"

        with pytest.raises(UnknownSysctlError, match=message):
            chosen(include=(unknown,))
        with pytest.raises(UnknownSysctlError, match=message):
            chosen(exclude=(unknown,))

    @pytest.mark.parametrize("unknown", ["", "kernel.hostname", "zzz"])
    def test_a_glob_similar_to_no_name_has_no_suggestion(self, unknown: str) -> None:
        with pytest.raises(UnknownSysctlError, match=f"matches {unknown!r}$"):
            chosen(include=(unknown,))

    @pytest.mark.parametrize(
        "unknown",
        [
            "net.ipv4.tcp_fastopen_key",
            "net.ipv6.conf.all.stable_secret",
            "net.ipv4.route.flush",
            "kernel.*",
            "../../etc/shadow",
            "/etc/shadow",
            "*/../*",
            "net/ipv4/../../kernel/core_pattern",
        ],
    )
    def test_a_name_outside_the_catalog_cannot_be_selected(self, unknown: str) -> None:
        with pytest.raises(UnknownSysctlError):
            chosen(include=(unknown,))


@pytest.mark.parametrize("glob", ["*", "**", "*.*", "[a-z]*", "net*", "?*"])
def test_the_widest_glob_is_the_catalog_and_no_more(glob: str) -> None:
    assert chosen(include=(glob,)) == NAMES


PIECES = ["*", "?", "..", ".", "/", "[!a]", "[", "]", "net", "key", "secret", "etc"]
GLOBS = st.text() | st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(GLOBS)
def test_no_glob_reaches_outside_the_catalog(glob: str) -> None:
    found = DEFAULT
    with contextlib.suppress(UnknownSysctlError):
        found = chosen(include=(glob,))

    assert set(DEFAULT) <= set(found) <= set(NAMES)
    assert found == sorted(found, key=NAMES.index)
