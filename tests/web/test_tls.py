"""TLS contexts from PEM texts, tested with clients in real handshakes."""

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


class Ca:
    """A CA, and the certificates that it signs, as files in a directory."""

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

    def intermediate(self, name: str) -> "Ca":
        self.sign(name, "basicConstraints=critical,CA:TRUE")
        other = Ca.__new__(Ca)
        other._directory, other.name = self._directory, name
        return other


@dataclass(frozen=True, kw_only=True)
class Pki:
    """Files by name: NAME.pem and NAME.key."""

    directory: Path

    def text(self, file: str) -> str:
        return (self.directory / file).read_text()

    def server(self, **changes: object) -> TlsConfig:
        """Return the configuration of a server that requests no client certificate."""
        plain = TlsConfig(cert=self.text("server.pem"), key=self.text("server.key"))
        return msgspec.structs.replace(plain, **changes)

    def client(self, name: str = "") -> ssl.SSLContext:
        """Return the context of a client, with the certificate *name* if any."""
        context = ssl.create_default_context(cafile=self.directory / "ca.pem")
        if name:
            context.load_cert_chain(
                self.directory / f"{name}.pem", self.directory / f"{name}.key"
            )
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    ca = Ca(directory, "ca")
    ca.sign("server", f"subjectAltName=DNS:{HOST}")
    ca.sign("prom", f"subjectAltName={SANS}")
    ca.sign("plain", "keyUsage=digitalSignature")
    ca.sign("webserver", "extendedKeyUsage=serverAuth")
    ca.intermediate("team").sign("member", "subjectAltName=DNS:member.test")
    Ca(directory, "stranger").sign("foreign", f"subjectAltName={SANS}")
    return Pki(directory=directory)


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """What server and client learned of each other."""

    version: str
    cipher: str
    peer: dict[str, Any] | None
    reused: bool
    session: ssl.SSLSession | None


def handshake(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
) -> Handshake:
    """Complete a handshake and send a byte; raise the server's error first."""
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
    return Handshake(
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
    """Versions and ciphers are those of the configuration."""

    def test_a_certificate_and_a_key_suffice_for_tls_1_3(self, pki: Pki) -> None:
        assert (
            handshake(create_context(pki.server()), pki.client()).version == "TLSv1.3"
        )

    def test_a_client_of_tls_1_2_is_served(self, pki: Pki) -> None:
        client = pki.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2

        assert handshake(create_context(pki.server()), client).version == "TLSv1.2"

    def test_a_client_of_tls_1_2_is_refused_if_1_3_is_required(self, pki: Pki) -> None:
        client = pki.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            handshake(create_context(pki.server(min_version="TLS13")), client)

    def test_the_highest_version_can_be_limited(self, pki: Pki) -> None:
        server = create_context(pki.server(max_version="TLS12"))

        assert handshake(server, pki.client()).version == "TLSv1.2"

    def test_no_configuration_supports_tls_1_1(self, pki: Pki) -> None:
        client = pki.client()
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
            client.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            client.maximum_version = ssl.TLSVersion.TLSv1_1

        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            handshake(create_context(pki.server()), client)

    @pytest.mark.parametrize(
        ("prefer", "chosen"),
        [
            (True, "ECDHE-ECDSA-AES256-GCM-SHA384"),
            (False, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ],
    )
    def test_the_order_of_ciphers_is_the_servers_or_the_clients(
        self, pki: Pki, chosen: str, *, prefer: bool
    ) -> None:
        both = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")
        client = pki.client()
        client.set_ciphers(":".join(reversed(both)))
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        tls = pki.server(ciphers=both, prefer_server_ciphers=prefer)

        assert handshake(create_context(tls), client).cipher == chosen

    def test_a_client_without_a_cipher_of_the_list_is_refused(self, pki: Pki) -> None:
        client = pki.client()
        client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        tls = pki.server(ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384",))

        with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
            handshake(create_context(tls), client)

    def test_renegotiation_and_compression_are_disabled(self, pki: Pki) -> None:
        options = create_context(pki.server()).options

        assert options & ssl.OP_NO_RENEGOTIATION
        assert options & ssl.OP_NO_COMPRESSION


class TestClients:
    """Client certificates: required, optional, refused."""

    @pytest.fixture
    def requiring(self, pki: Pki) -> ssl.SSLContext:
        ca = pki.text("ca.pem")
        return create_context(pki.server(client_ca=ca, client_auth="required"))

    @pytest.fixture
    def optional(self, pki: Pki) -> ssl.SSLContext:
        ca = pki.text("ca.pem")
        return create_context(pki.server(client_ca=ca, client_auth="optional"))

    def test_no_client_certificate_is_requested_by_default(self, pki: Pki) -> None:
        assert not handshake(create_context(pki.server()), pki.client("foreign")).peer

    def test_a_certificate_signed_by_the_ca_is_accepted(
        self, pki: Pki, requiring: ssl.SSLContext
    ) -> None:
        peer = handshake(requiring, pki.client("prom")).peer

        assert peer
        assert peer["subject"] == ((("commonName", "prom"),),)

    def test_a_client_without_a_certificate_is_refused(
        self, pki: Pki, requiring: ssl.SSLContext
    ) -> None:
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            handshake(requiring, pki.client())

    @pytest.mark.parametrize("name", ["foreign", "stranger", "webserver"])
    def test_a_certificate_not_signed_by_the_ca_is_refused(
        self, pki: Pki, requiring: ssl.SSLContext, name: str
    ) -> None:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(requiring, pki.client(name))

    def test_a_certificate_may_be_optional(
        self, pki: Pki, optional: ssl.SSLContext
    ) -> None:
        assert not handshake(optional, pki.client()).peer
        assert handshake(optional, pki.client("prom")).peer

    def test_an_optional_certificate_must_be_valid(
        self, pki: Pki, optional: ssl.SSLContext
    ) -> None:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(optional, pki.client("foreign"))

    def test_an_intermediate_ca_accepts_only_what_it_signed(self, pki: Pki) -> None:
        team = pki.text("team.pem")
        server = create_context(pki.server(client_ca=team, client_auth="required"))

        assert handshake(server, pki.client("member")).peer
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(server, pki.client("prom"))

    def test_several_cas_are_accepted(self, pki: Pki) -> None:
        both = pki.text("ca.pem") + pki.text("stranger.pem")
        server = create_context(pki.server(client_ca=both, client_auth="required"))

        assert handshake(server, pki.client("prom")).peer
        assert handshake(server, pki.client("foreign")).peer

    def test_a_resumed_session_keeps_the_client_certificate(
        self, pki: Pki, requiring: ssl.SSLContext
    ) -> None:
        client = pki.client("prom")
        first = handshake(requiring, client)

        again = handshake(requiring, client, first.session)

        assert again.reused
        assert again.peer == first.peer

    def test_a_session_is_not_resumed_by_another_context(
        self, pki: Pki, requiring: ssl.SSLContext
    ) -> None:
        client = pki.client("prom")
        session = handshake(requiring, client).session
        stranger = pki.text("stranger.pem")
        other = create_context(pki.server(client_ca=stranger, client_auth="required"))

        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(other, client, session)

    @pytest.mark.parametrize("san", SANS.split(","))
    def test_one_allowed_name_of_any_kind_suffices(
        self, pki: Pki, requiring: ssl.SSLContext, san: str
    ) -> None:
        peer = handshake(requiring, pki.client("prom")).peer

        assert has_allowed_san(peer, ["other.test", san.partition(":")[2]])

    @pytest.mark.parametrize(
        "san",
        ["other.test", "*.test", "PROM.test", "192.0.2.70", "2001:db8::8", "prom"],
    )
    def test_a_name_that_is_not_allowed_is_refused(
        self, pki: Pki, requiring: ssl.SSLContext, san: str
    ) -> None:
        peer = handshake(requiring, pki.client("prom")).peer

        assert not has_allowed_san(peer, [san])

    def test_a_certificate_without_names_is_not_allowed_by_its_subject(
        self, pki: Pki, requiring: ssl.SSLContext
    ) -> None:
        assert not has_allowed_san(
            handshake(requiring, pki.client("plain")).peer, ["plain"]
        )


class TestAllowed:
    """The names of a certificate, as getpeercert() returns them."""

    @pytest.mark.parametrize("peer", [None, {}, {"subjectAltName": ()}])
    def test_without_a_list_all_are_allowed_and_with_one_only_those_with_a_name(
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
    def test_other_kinds_of_names_are_ignored(self, name: tuple[str, Any]) -> None:
        assert not has_allowed_san(
            {"subjectAltName": (name,)}, ["1.2.3", "<unsupported>"]
        )

    @given(st.ip_addresses())
    def test_an_address_is_compared_by_value(self, ip: Address) -> None:
        peer = {"subjectAltName": (("IP Address", ip.exploded.upper()),)}

        assert has_allowed_san(peer, [ip.compressed])
        assert has_allowed_san(peer, [ip.exploded])


class TestErrors:
    """The part that OpenSSL rejects is named, and it never prompts."""

    def test_a_key_of_another_certificate(self, pki: Pki) -> None:
        with pytest.raises(TlsError, match=r"^key: KEY_VALUES_MISMATCH; .* first"):
            create_context(pki.server(key=pki.text("prom.key")))

    def test_a_chain_in_the_wrong_order(self, pki: Pki) -> None:
        chain = pki.text("ca.pem") + pki.text("server.pem")

        with pytest.raises(TlsError, match=r"^key: KEY_VALUES_MISMATCH; .* first"):
            create_context(pki.server(cert=chain))

    @pytest.mark.parametrize("form", [[], ["-traditional"]])
    def test_an_encrypted_key(self, pki: Pki, form: list[str]) -> None:
        encrypt = ("pkey", "-aes256", "-passout", "pass:x", *form, "-in", "server.key")
        key = openssl(pki.directory, *encrypt)

        with pytest.raises(TlsError, match=r"^key: encrypted keys .*openssl pkey"):
            create_context(pki.server(key=key))

    @pytest.mark.parametrize("part", ["cert", "key", "client_ca"])
    @pytest.mark.parametrize("text", ["garbage", "é", "{cut}", "{flipped}"])
    def test_garbage_is_named(self, pki: Pki, part: str, text: str) -> None:
        good = pki.text("server.key" if part == "key" else "server.pem")
        flipped = good.replace("M", "!", 1)
        broken = text.format(cut=good[: len(good) // 2], flipped=flipped)

        with pytest.raises(TlsError, match=f"^{part}: [^;]+; set it to"):
            create_context(pki.server(**{part: broken}))

    def test_a_weak_key(self, pki: Pki) -> None:
        rsa = ("-newkey", "rsa:1024", "-keyout", "weak.key", "-out", "weak.pem")
        openssl(pki.directory, *REQ, *rsa, *named("weak"))
        cert, key = pki.text("weak.pem"), pki.text("weak.key")

        with pytest.raises(TlsError, match=r"^key: EE_KEY_TOO_SMALL"):
            create_context(pki.server(cert=cert, key=key))

    def test_unknown_ciphers(self, pki: Pki) -> None:
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
from exporter.web.tls import create_context

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
every_file = struct.pack("=Q", (1 << 13) - 1)  # of the first version of Landlock
ruleset = libc.syscall(444, every_file, ctypes.c_size_t(8), 0)
if ruleset >= 0:
    assert libc.syscall(446, ruleset, 0) == 0
    try:
        os.close(os.open("/proc/self/status", os.O_RDONLY))
    except PermissionError:
        print("no files;", end=" ")
print(create_context(config.tls).get_ca_certs()[0]["subject"][0][0][1])
"""


@pytest.mark.root
def test_a_context_needs_neither_files_nor_capabilities(pki: Pki) -> None:
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
