"""Contexts of PEM texts, held against clients in real handshakes."""

import ipaddress
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.web import TlsConfig
from exporter.web.tls import TlsError, create_context, has_allowed_san

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LONG = 20.0
HOST = "server.test"
SANS = "DNS:prom.test,IP:192.0.2.7,IP:2001:db8::7,URI:spiffe://test/prom,email:p@m.test"
REQ = ("req", "-x509", "-config", "req.cnf", "-nodes", "-days", "3")
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ["openssl", *words],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def named(name: str) -> tuple[str, str]:
    return "-subj", f"/CN={name}"


class Authority:
    """An authority, and the certificates that it signs, as files of a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        (directory / "req.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        self.name = name
        self._certify(name, "basicConstraints=critical,CA:TRUE")

    def _certify(self, name: str, extension: str, by: tuple[str, ...] = ()) -> None:
        out = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        openssl(
            self._directory, *REQ, *EC, *named(name), "-addext", extension, *by, *out
        )

    def sign(self, name: str, extension: str) -> str:
        by = ("-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key")
        self._certify(name, extension, by)
        return name

    def intermediate(self, name: str) -> "Authority":
        self.sign(name, "basicConstraints=critical,CA:TRUE")
        other = Authority.__new__(Authority)
        other._directory, other.name = self._directory, name
        return other


@dataclass(frozen=True, kw_only=True)
class Pki:
    """Files by name: NAME.pem and NAME.key."""

    directory: Path

    def text(self, file: str) -> str:
        return (self.directory / file).read_text()

    def server(self, **changes: object) -> TlsConfig:
        """Return a server's Tls that asks clients for nothing."""
        plain = TlsConfig(cert=self.text("server.pem"), key=self.text("server.key"))
        return msgspec.structs.replace(plain, **changes)

    def client(self, name: str = "") -> ssl.SSLContext:
        """Return the context of a client, with the certificate *name*."""
        made = ssl.create_default_context(cafile=self.directory / "ca.pem")
        if name:
            made.load_cert_chain(
                self.directory / f"{name}.pem", self.directory / f"{name}.key"
            )
        return made


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    ca = Authority(directory, "ca")
    ca.sign("server", f"subjectAltName=DNS:{HOST}")
    ca.sign("prom", f"subjectAltName={SANS}")
    ca.sign("plain", "keyUsage=digitalSignature")
    ca.sign("webserver", "extendedKeyUsage=serverAuth")
    ca.intermediate("team").sign("member", "subjectAltName=DNS:member.test")
    Authority(directory, "stranger").sign("foreign", f"subjectAltName={SANS}")
    return Pki(directory=directory)


@dataclass(frozen=True, kw_only=True)
class Met:
    """What a server saw of a client, and the client of the server."""

    version: str
    cipher: str
    peer: dict[str, Any] | None
    reused: bool
    session: ssl.SSLSession | None


def meet(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
) -> Met:
    """Shake hands and speak; the server's error is raised, or else the client's."""
    theirs, ours = socket.socketpair()
    theirs.settimeout(LONG)
    ours.settimeout(LONG)
    with ThreadPoolExecutor(1) as pool, theirs, ours:
        answered = pool.submit(_answer, server, ours)
        try:
            with client.wrap_socket(
                theirs, server_hostname=HOST, session=session
            ) as tls:
                got, reused, kept = tls.recv(1), tls.session_reused, tls.session
        except OSError:
            theirs.close()  # wakes the server
            answered.result()
            raise
        version, cipher, peer = answered.result()
    assert got == b"!"
    return Met(
        version=version, cipher=cipher, peer=peer, reused=bool(reused), session=kept
    )


def _answer(
    server: ssl.SSLContext, connection: socket.socket
) -> tuple[str, str, dict[str, Any] | None]:
    with server.wrap_socket(connection, server_side=True) as tls:
        tls.sendall(b"!")
        cipher, version = tls.cipher(), tls.version()
        assert cipher
        assert version
        return version, cipher[0], tls.getpeercert()


class TestVersionsAndCiphers:
    """What is spoken is what the configuration says."""

    def test_a_pair_of_texts_is_enough_for_tls_1_3(self, pki: Pki) -> None:
        assert meet(create_context(pki.server()), pki.client()).version == "TLSv1.3"

    def test_a_client_of_tls_1_2_is_served(self, pki: Pki) -> None:
        client = pki.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2

        assert meet(create_context(pki.server()), client).version == "TLSv1.2"

    def test_a_client_of_tls_1_2_is_refused_where_1_3_is_wanted(self, pki: Pki) -> None:
        client = pki.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            meet(create_context(pki.server(min_version="TLS13")), client)

    def test_the_newest_version_can_be_held_back(self, pki: Pki) -> None:
        server = create_context(pki.server(max_version="TLS12"))

        assert meet(server, pki.client()).version == "TLSv1.2"

    def test_tls_1_1_is_spoken_by_no_configuration(self, pki: Pki) -> None:
        client = pki.client()
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
            client.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            client.maximum_version = ssl.TLSVersion.TLSv1_1

        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            meet(create_context(pki.server()), client)

    @pytest.mark.parametrize(
        ("prefer", "chosen"),
        [
            (True, "ECDHE-ECDSA-AES256-GCM-SHA384"),
            (False, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ],
    )
    def test_whose_order_counts_can_be_said(
        self, pki: Pki, chosen: str, *, prefer: bool
    ) -> None:
        both = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")
        client = pki.client()
        client.set_ciphers(":".join(reversed(both)))
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        tls = pki.server(ciphers=both, prefer_server_ciphers=prefer)

        assert meet(create_context(tls), client).cipher == chosen

    def test_a_client_without_a_cipher_of_the_list_is_refused(self, pki: Pki) -> None:
        client = pki.client()
        client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        tls = pki.server(ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384",))

        with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
            meet(create_context(tls), client)

    def test_nobody_may_make_us_compute_again_or_compress(self, pki: Pki) -> None:
        options = create_context(pki.server()).options

        assert options & ssl.OP_NO_RENEGOTIATION
        assert options & ssl.OP_NO_COMPRESSION


class TestClients:
    """Who comes with which certificate gets how far."""

    @pytest.fixture
    def asking(self, pki: Pki) -> ssl.SSLContext:
        ca = pki.text("ca.pem")
        return create_context(pki.server(client_ca=ca, client_auth="required"))

    @pytest.fixture
    def curious(self, pki: Pki) -> ssl.SSLContext:
        ca = pki.text("ca.pem")
        return create_context(pki.server(client_ca=ca, client_auth="optional"))

    def test_nobody_is_asked_by_default(self, pki: Pki) -> None:
        assert not meet(create_context(pki.server()), pki.client("foreign")).peer

    def test_whom_the_authority_signed_is_served(
        self, pki: Pki, asking: ssl.SSLContext
    ) -> None:
        peer = meet(asking, pki.client("prom")).peer

        assert peer
        assert peer["subject"] == ((("commonName", "prom"),),)

    def test_who_has_no_certificate_is_refused(
        self, pki: Pki, asking: ssl.SSLContext
    ) -> None:
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            meet(asking, pki.client())

    @pytest.mark.parametrize("name", ["foreign", "stranger", "webserver"])
    def test_whom_the_authority_does_not_vouch_for_is_refused(
        self, pki: Pki, asking: ssl.SSLContext, name: str
    ) -> None:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            meet(asking, pki.client(name))

    def test_a_certificate_may_be_optional(
        self, pki: Pki, curious: ssl.SSLContext
    ) -> None:
        assert not meet(curious, pki.client()).peer
        assert meet(curious, pki.client("prom")).peer

    def test_an_optional_one_has_to_be_good(
        self, pki: Pki, curious: ssl.SSLContext
    ) -> None:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            meet(curious, pki.client("foreign"))

    def test_an_authority_below_another_vouches_for_its_own_only(
        self, pki: Pki
    ) -> None:
        team = pki.text("team.pem")
        server = create_context(pki.server(client_ca=team, client_auth="required"))

        assert meet(server, pki.client("member")).peer
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            meet(server, pki.client("prom"))

    def test_several_authorities_may_vouch(self, pki: Pki) -> None:
        both = pki.text("ca.pem") + pki.text("stranger.pem")
        server = create_context(pki.server(client_ca=both, client_auth="required"))

        assert meet(server, pki.client("prom")).peer
        assert meet(server, pki.client("foreign")).peer

    def test_who_comes_back_is_still_known(
        self, pki: Pki, asking: ssl.SSLContext
    ) -> None:
        client = pki.client("prom")
        first = meet(asking, client)

        again = meet(asking, client, first.session)

        assert again.reused
        assert again.peer == first.peer

    def test_no_session_outlives_its_context(
        self, pki: Pki, asking: ssl.SSLContext
    ) -> None:
        client = pki.client("prom")
        session = meet(asking, client).session
        stranger = pki.text("stranger.pem")
        other = create_context(pki.server(client_ca=stranger, client_auth="required"))

        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            meet(other, client, session)

    @pytest.mark.parametrize("san", SANS.split(","))
    def test_one_name_of_any_kind_is_enough(
        self, pki: Pki, asking: ssl.SSLContext, san: str
    ) -> None:
        peer = meet(asking, pki.client("prom")).peer

        assert has_allowed_san(peer, ["other.test", san.partition(":")[2]])

    @pytest.mark.parametrize(
        "san",
        ["other.test", "*.test", "PROM.test", "192.0.2.70", "2001:db8::8", "prom"],
    )
    def test_no_other_name_will_do(
        self, pki: Pki, asking: ssl.SSLContext, san: str
    ) -> None:
        peer = meet(asking, pki.client("prom")).peer

        assert not has_allowed_san(peer, [san])

    def test_a_certificate_without_names_has_none(
        self, pki: Pki, asking: ssl.SSLContext
    ) -> None:
        assert not has_allowed_san(meet(asking, pki.client("plain")).peer, ["plain"])


class TestAllowed:
    """What is in getpeercert()'s words."""

    @pytest.mark.parametrize("peer", [None, {}, {"subjectAltName": ()}])
    def test_no_list_lets_everybody_in_and_a_list_nobody_without_a_name(
        self, peer: dict[str, Any] | None
    ) -> None:
        assert has_allowed_san(peer, [])
        assert not has_allowed_san(peer, [""])

    @pytest.mark.parametrize(
        "name",
        [
            ("DirName", ((("commonName", "a"),),)),
            ("Registered ID", "1.2.3"),
            ("othername", "<unsupported>"),
        ],
    )
    def test_other_kinds_of_names_do_not_count(self, name: tuple[str, Any]) -> None:
        assert not has_allowed_san(
            {"subjectAltName": (name,)}, ["1.2.3", "<unsupported>"]
        )

    @given(st.ip_addresses())
    def test_an_address_is_the_same_however_it_is_written(self, ip: Address) -> None:
        peer = {"subjectAltName": (("IP Address", ip.exploded.upper()),)}

        assert has_allowed_san(peer, [ip.compressed])
        assert has_allowed_san(peer, [ip.exploded])


class TestErrors:
    """What OpenSSL does not take is named, and nobody is asked on a terminal."""

    def test_a_key_of_another_certificate(self, pki: Pki) -> None:
        with pytest.raises(TlsError, match=r"^key: KEY_VALUES_MISMATCH; .* first"):
            create_context(pki.server(key=pki.text("prom.key")))

    def test_a_chain_the_wrong_way_round(self, pki: Pki) -> None:
        chain = pki.text("ca.pem") + pki.text("server.pem")

        with pytest.raises(TlsError, match=r"^key: KEY_VALUES_MISMATCH; .* first"):
            create_context(pki.server(cert=chain))

    @pytest.mark.parametrize("form", [[], ["-traditional"]])
    def test_an_encrypted_key(self, pki: Pki, form: list[str]) -> None:
        encrypt = ("pkey", "-aes256", "-passout", "pass:x", *form, "-in", "server.key")
        key = openssl(pki.directory, *encrypt)

        with pytest.raises(TlsError, match=r"^key: it is encrypted; .*openssl pkey"):
            create_context(pki.server(key=key))

    @pytest.mark.parametrize("part", ["cert", "key", "client_ca"])
    @pytest.mark.parametrize("text", ["garbage", "é", "{cut}", "{flipped}"])
    def test_garbage_is_named(self, pki: Pki, part: str, text: str) -> None:
        good = pki.text("server.key" if part == "key" else "server.pem")
        flipped = good.replace("M", "!", 1)
        broken = text.format(cut=good[: len(good) // 2], flipped=flipped)

        with pytest.raises(TlsError, match=f"^{part}: [^;]+; give"):
            create_context(pki.server(**{part: broken}))

    def test_a_key_without_strength(self, pki: Pki) -> None:
        rsa = ("-newkey", "rsa:1024", "-keyout", "weak.key", "-out", "weak.pem")
        openssl(pki.directory, *REQ, *rsa, *named("weak"))
        cert, key = pki.text("weak.pem"), pki.text("weak.key")

        with pytest.raises(TlsError, match=r"^key: EE_KEY_TOO_SMALL"):
            create_context(pki.server(cert=cert, key=key))

    def test_ciphers_that_nobody_has(self, pki: Pki) -> None:
        with pytest.raises(TlsError, match=r"^cipher_suites: .*; choose others"):
            create_context(pki.server(ciphers=("ROT13",)))

    @given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
    def test_any_text_is_an_error(self, cert: str, key: str, ca: str) -> None:
        with pytest.raises(TlsError):
            create_context(TlsConfig(cert=cert, key=key, client_ca=ca))

    @pytest.mark.usefixtures("no_leaked_files")
    def test_nothing_stays_open(self, pki: Pki) -> None:
        create_context(pki.server())
        with pytest.raises(TlsError):
            create_context(pki.server(key="garbage"))


DROPPED = """
import ctypes, os, struct, sys
import msgspec
from exporter.config.web import WebConfig
from exporter.web.tls import context

config = msgspec.json.decode(sys.stdin.buffer.read(), type=WebConfig)
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
assert libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)) == 0
assert libc.prctl(38, ctypes.c_ulong(1), 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
status = open("/proc/self/status").read()
assert "Uid:\\t65534\\t65534\\t65534\\t65534" in status, status
assert "CapEff:\\t0000000000000000" in status, status
every_file = struct.pack("=Q", (1 << 13) - 1)  # what the first Landlock knows
ruleset = libc.syscall(444, every_file, ctypes.c_size_t(8), 0)
if ruleset >= 0:
    assert libc.syscall(446, ruleset, 0) == 0
    try:
        os.close(os.open("/proc/self/status", os.O_RDONLY))
    except PermissionError:
        print("no files;", end=" ")
print(context(config.tls).get_ca_certs()[0]["subject"][0][0][1])
"""


@pytest.mark.root
def test_nobody_without_files_or_capabilities_makes_a_context(pki: Pki) -> None:
    tls = pki.server(client_ca=pki.text("ca.pem"), client_auth="required")

    done = subprocess.run(
        [sys.executable, "-c", DROPPED],
        input=msgspec.json.encode({"tls": tls}),
        check=False,
        capture_output=True,
        timeout=LONG,
    )

    assert done.stderr == b""
    assert done.stdout in {b"no files; ca\n", b"ca\n"}  # the latter without Landlock
