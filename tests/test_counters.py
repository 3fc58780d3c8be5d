"""The table of counters: unique names, and help that stands alone."""

import re

import pytest

from exporter.counters import COUNTERS, RESOURCES, Counter, signal_names

BY_NAME = {counter.name: counter for counter in COUNTERS}
EVERY_COUNTER = pytest.mark.parametrize("counter", COUNTERS, ids=lambda c: c.name)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("TcpExt.ListenOverflows", "netns_tcpext_listen_overflows_total"),
        ("TcpExt.TCPReqQFullDrop", "netns_tcpext_tcp_req_q_full_drop_total"),
        ("TcpExt.TCPReqQFullDoCookies", "netns_tcpext_tcp_req_q_full_do_cookies_total"),
        ("TcpExt.SyncookiesSent", "netns_tcpext_syncookies_sent_total"),
        ("TcpExt.TCPTimeWaitOverflow", "netns_tcpext_tcp_time_wait_overflow_total"),
        ("TcpExt.TCPRcvQDrop", "netns_tcpext_tcp_rcv_q_drop_total"),
        ("TcpExt.TCPOFOQueue", "netns_tcpext_tcp_ofo_queue_total"),
        ("TcpExt.PAWSEstab", "netns_tcpext_paws_estab_total"),
        ("TcpExt.IPReversePathFilter", "netns_tcpext_ip_reverse_path_filter_total"),
        ("TcpExt.TCPSynRetrans", "netns_tcpext_tcp_syn_retrans_total"),
        ("TcpExt.TCPSpuriousRTOs", "netns_tcpext_tcp_spurious_rtos_total"),
        ("TcpExt.TWRecycled", "netns_tcpext_tw_recycled_total"),
        ("Ip.ReasmOKs", "netns_ip_reasm_oks_total"),
        ("IpExt.InECT0Pkts", "netns_ipext_in_ect0_pkts_total"),
        ("Udp6.RcvbufErrors", "netns_udp6_rcvbuf_errors_total"),
        ("nf_conntrack.early_drop", "netns_nf_conntrack_early_drop_total"),
    ],
)
def test_a_metric_is_the_kernels_name_in_snake_case(name: str, metric: str) -> None:
    assert Counter(name=name, help="", lost=False).metric == metric


def test_no_two_counters_share_a_name_or_a_metric() -> None:
    assert len(BY_NAME) == len(COUNTERS)
    assert len({counter.metric for counter in COUNTERS}) == len(COUNTERS)


@EVERY_COUNTER
def test_a_metric_has_the_name_of_a_counter(counter: Counter) -> None:
    assert re.fullmatch(r"netns(_[a-z0-9]+)+_total", counter.metric)


@EVERY_COUNTER
def test_the_help_is_one_sentence(counter: Counter) -> None:
    assert re.fullmatch(r"[A-Z]([^.]|\.(?! |\Z))+\.", counter.help)


@EVERY_COUNTER
def test_counters_named_in_a_help_are_in_the_table(counter: Counter) -> None:
    named = set(re.findall(r"\b(?:Listen|Rcvbuf)\w+|\binsert_failed\b", counter.help))

    assert named <= {other.name.partition(".")[2] for other in COUNTERS}


def test_the_number_of_default_counters_is_limited() -> None:
    assert 25 <= sum(counter.default for counter in COUNTERS) <= 35


def test_the_usual_counters_of_listeners_are_exported_by_default() -> None:
    """The defaults of node_exporter's netstat, and cAdvisor's of queues."""
    theirs = """
        ListenOverflows ListenDrops SyncookiesSent SyncookiesRecv SyncookiesFailed
        TCPSynRetrans TCPTimeouts TCPOFOQueue TCPRcvQDrop TCPReqQFullDrop
        TCPReqQFullDoCookies
    """

    assert all(BY_NAME[f"TcpExt.{name}"].default for name in theirs.split())


@pytest.mark.parametrize(
    "name",
    [
        "Tcp.RetransSegs",
        "TcpExt.TCPReqQFullDoCookies",
        "TcpExt.TCPFastOpenListenOverflow",
        "TcpExt.PruneCalled",
        "TcpExt.IPReversePathFilter",
        "nf_conntrack.insert_failed",
    ],
)
def test_drops_by_the_network_or_a_rule_are_not_called_lost(name: str) -> None:
    assert not BY_NAME[name].lost


def test_signals_of_a_sysctl_are_counters_or_resources() -> None:
    assert signal_names() == set(BY_NAME) | set(RESOURCES)
    assert not set(BY_NAME) & set(RESOURCES)
