"""Texts in every class of Unicode, and a node where each name is such a text."""

import sys
import unicodedata

from exporter.model import Declared
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_problem,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    some_stats,
    the_hosts_namespace,
)
from tests.support.pages import encoded


def unicode_texts() -> list[str]:
    """Return the first and the last character of each general category, and more."""
    firsts: dict[str, str] = {}
    lasts: dict[str, str] = {}
    for char in map(chr, range(sys.maxunicode + 1)):
        category = unicodedata.category(char)
        firsts.setdefault(category, char)
        lasts[category] = char
    return [
        *(f"a{firsts[category]}{lasts[category]}z" for category in firsts),
        "nul\0",
        "line\r\nend",
        "\x1b]0;title\x07",
        "\u202egpj.exe",
        "\u2066\u2069",
        "e\u0301" + "\u0301" * 200,
        "\U0001f469\u200d\U0001f52c",
        "\ufeff\ufffe",
        "\u2028\u2029",
        "\udcff\udc80",
        "x" * 20_000,
        "\x1b" * 5_000,
        '"><script>x',
        "{{ 7*7 }}",
        "../..",
        "%00%ff",
    ]


def node_of(text: str) -> bytes:
    """Return a node where every free text is *text*."""
    owner = an_owner(
        namespace=text,
        pod=text,
        uid=text,
        container=text,
        runtime=text,
        container_id=text,
        project=text,
        service=text,
        comm=text,
    )
    named = an_owner(
        "named",
        namespace="",
        pod="",
        uid="",
        netns=f"named/{text}",
        comm=text,
        container_id="",
    )
    sandboxed = an_owner(pod="box", uid="box", sandbox=text)
    kind = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
    declared = Declared(
        sysctl=kind.name, value="bbr", source="container", container=text
    )
    socket = a_listener(0, address=text, queue=129, protocol="unix")
    parcel = an_encoded_snapshot(
        the_hosts_namespace(readings=["cubic", "4096"]),
        a_namespace(
            netns=a_netns(20, ino=20),
            owner=owner,
            readings=[f"x{text}", "1"],
            declared=[declared],
        ),
        a_namespace(netns=a_netns(21, ino=21), owner=named, readings=["reno", "1"]),
        a_namespace(netns=a_netns(22, ino=22), owner=sandboxed, readings=["reno", "1"]),
        a_namespace(
            netns=a_netns(23, ino=23),
            owner=an_owner(pod="dark", uid="dark"),
            state="unreadable",
            reason=text,
        ),
        node=text,
        kernel=text,
        sysctls=[kind, a_sysctl()],
        fresh=["cubic", "4096"],
        problems=[a_problem(text, detail=text, remedy=text)],
        signals=[some_signals(socket) for _ in range(5)],
        stats=some_stats(hidden={text: 1}),
    )
    return encoded(parcel)
