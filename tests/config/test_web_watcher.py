"""The web configuration: what it becomes, what is refused, and how it is followed."""

import os
import re
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.web import TlsConfig, WebConfig
from exporter.config.web_watcher import MAX_BYTES, WebConfigWatcher, load
from exporter.errors import ConfigError


def pem(label: str, body: str = "AAAA") -> str:
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


CERT, KEY, CA = pem("CERTIFICATE"), pem("PRIVATE KEY"), pem("CERTIFICATE", "CAAA")
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
PAIR = "cert_file: cert.pem, key_file: key.pem"
ASKING = "client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"
OPTIONAL = "client_ca_file: ca.pem, client_auth_type: VerifyClientCertIfGiven"
AES = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
CHACHA = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Return where web.yaml goes; beside it are cert.pem, key.pem and ca.pem."""
    (tmp_path / "cert.pem").write_text(CERT)
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "ca.pem").write_text(CA)
    return tmp_path / "web.yaml"


def loaded(web: Path, text: str) -> WebConfig:
    web.write_text(text)
    return load(str(web))


def tls(web: Path, text: str) -> TlsConfig:
    """Return what becomes of a tls_server_config with a pair and *text*."""
    made = loaded(web, f"tls_server_config: {{{PAIR}, {text}}}").tls
    assert made
    return made


def complaint(web: Path, text: str) -> str:
    """Return what is said of a configuration, less the file, which is said too."""
    with pytest.raises(ConfigError) as caught:
        loaded(web, text)
    said, named = str(caught.value), f"{web}: "
    assert said.startswith(named)
    return said.removeprefix(named)


class TestLoad:
    """The file's words become the server's."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{}",
            "---\n# nothing\n",
            "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
            "tls_server_config: {}\nhttp_server_config: {http2: false}\n",
            "tls_server_config: {cert_file: '', key_file: ''}",
        ],
    )
    def test_nothing_said_is_plain_http_for_everybody(
        self, web: Path, text: str
    ) -> None:
        assert loaded(web, text) == WebConfig()

    def test_a_pair_is_enough_for_tls_and_lies_beside_the_file(self, web: Path) -> None:
        config = loaded(web, f"tls_server_config: {{{PAIR}}}")

        assert config == WebConfig(tls=TlsConfig(cert=CERT, key=KEY))

    def test_an_absolute_path_is_taken_as_it_is(
        self, web: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = tmp_path_factory.mktemp("other") / "web.yaml"
        pair = f"cert_file: {web.parent}/cert.pem, key_file: {web.parent}/key.pem"

        assert loaded(other, f"tls_server_config: {{{pair}}}").tls

    def test_a_file_in_the_working_directory_has_its_files_there(
        self, web: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        web.write_text(f"tls_server_config: {{{PAIR}}}")
        monkeypatch.chdir(web.parent)

        assert load("web.yaml").tls == TlsConfig(cert=CERT, key=KEY)

    def test_certificates_may_stand_in_the_file(self, web: Path) -> None:
        section = {"cert": CERT, "key": KEY, "client_ca": CA}
        section |= {"client_auth_type": "VerifyClientCertIfGiven"}
        text = msgspec.yaml.encode({"tls_server_config": section}).decode()

        config = loaded(web, text)

        tls = TlsConfig(cert=CERT, key=KEY, client_ca=CA, client_auth="optional")
        assert config == WebConfig(tls=tls)

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("client_auth_type: NoClientCert", {}),
            (ASKING, {"client_ca": CA, "client_auth": "required"}),
            (
                f"{ASKING}, client_allowed_sans: [a.test, 'spiffe://test/a']",
                {
                    "client_ca": CA,
                    "client_auth": "required",
                    "allowed_sans": ("a.test", "spiffe://test/a"),
                },
            ),
            ("min_version: TLS13", {"min_version": "TLS13"}),
            ("max_version: TLS12", {"max_version": "TLS12"}),
            ("prefer_server_cipher_suites: false", {"prefer_server_ciphers": False}),
            (
                f"cipher_suites: [{AES}, TLS_AES_128_GCM_SHA256, {CHACHA}]",
                {"ciphers": ("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-CHACHA20-POLY1305")},
            ),
            (
                "cipher_suites: [TLS_AES_128_GCM_SHA256], min_version: TLS13",
                {"min_version": "TLS13"},
            ),
        ],
    )
    def test_tls_is_as_the_section_says(
        self, web: Path, text: str, meant: dict[str, object]
    ) -> None:
        plain = TlsConfig(cert=CERT, key=KEY)

        assert tls(web, text) == msgspec.structs.replace(plain, **meant)

    def test_headers_and_users_are_handed_on(self, web: Path) -> None:
        config = loaded(
            web,
            "http_server_config: {headers: {X-Frame-Options: deny, "
            "X-XSS-Protection: 0, Content-Security-Policy: ''}}\n"
            f"basic_auth_users: {{prom: {HASH}, Jörg Maß: {HASH}}}\n",
        )

        assert config.headers == {"X-Frame-Options": "deny", "X-XSS-Protection": "0"}
        assert config.users == {"prom": HASH, "Jörg Maß": HASH}

    def test_only_what_belongs_there_is_handed_on(self, web: Path) -> None:
        both = (
            f"# né\nDH {pem('EC PARAMETERS')}{pem('EC PRIVATE KEY')}{CERT}\x01{CA}{KEY}"
        )
        for name in ("cert.pem", "key.pem"):
            (web.parent / name).write_text(both, encoding="latin-1")

        made = tls(web, "")

        assert made.cert == CERT + CA
        assert made.key == pem("EC PRIVATE KEY")

    def test_the_wire_brings_over_what_was_read(self, web: Path) -> None:
        config = loaded(
            web,
            f"tls_server_config: {{{PAIR}, {ASKING}}}\nbasic_auth_users: {{ö: {HASH}}}",
        )

        sent = msgspec.json.encode(config)

        assert msgspec.json.decode(sent, type=WebConfig) == config


class TestMistakes:
    """Every complaint names the file, the key and what to do."""

    @pytest.mark.parametrize(
        ("text", "key", "nearest"),
        [
            ("tls_config: {}", "tls_config", "tls_server_config"),
            ("basic_auth_user: {}", "basic_auth_user", "basic_auth_users"),
            ("tls_server_config: {certfile: a}", "certfile", "cert_file"),
            ("tls_server_config: {client_cas: a}", "client_cas", "client_ca"),
            ("http_server_config: {header: {}}", "header", "headers"),
            ("rate_limit: {bursts: 1}", "bursts", "burst"),
        ],
    )
    def test_an_unknown_key_is_told_the_nearest(
        self, web: Path, text: str, key: str, nearest: str
    ) -> None:
        said = complaint(web, text)

        assert f"`{key}`" in said
        assert said.endswith(f"; did you mean {nearest!r}?")

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("tls_server_config: [1]", "$.tls_server_config"),
            ("tls_server_config: {cert_file: 1}", "$.tls_server_config.cert_file"),
            (
                "tls_server_config: {cipher_suites: }",
                "$.tls_server_config.cipher_suites",
            ),
            ("http_server_config: {headers: {X-XSS-Protection: [1]}}", "headers"),
            ("basic_auth_users: {prom: 1}", "$.basic_auth_users"),
            ("basic_auth_users: {1: a}", "$.basic_auth_users"),
            (
                f"tls_server_config: {{{PAIR}, {ASKING}, client_allowed_sans: []}}",
                "$.tls_server_config.client_allowed_sans",
            ),
            (
                f"tls_server_config: {{{PAIR}, {ASKING}, client_allowed_sans: ['']}}",
                "$.tls_server_config.client_allowed_sans[0]",
            ),
        ],
    )
    def test_a_value_of_the_wrong_kind_is_named_with_its_place(
        self, web: Path, text: str, place: str
    ) -> None:
        assert place in complaint(web, text)

    @pytest.mark.parametrize(
        ("text", "key", "remedy"),
        [
            ("curve_preferences: [X25519]", "curve_preferences", "leave it out"),
            ("min_version: TLS10", "min_version", "say TLS12 or TLS13"),
            ("max_version: TLS11", "max_version", "say TLS12 or TLS13"),
            ("min_version: tls13", "min_version", "want TLS12 or TLS13"),
            ("min_version: TLS1", "min_version", "did you mean 'TLS1"),
            ("min_version: ''", "min_version", "want TLS12 or TLS13"),
            (
                "min_version: TLS13, max_version: TLS12",
                "min_version",
                "TLS13 is above max_version, TLS12",
            ),
            (
                "client_auth_type: RequestClientCert",
                "client_auth_type",
                "say RequireAndVerifyClientCert",
            ),
            (
                "client_auth_type: RequireAnyClientCert",
                "client_auth_type",
                "say RequireAndVerifyClientCert",
            ),
            (
                "client_auth_type: RequireClientCert",
                "client_auth_type",
                "say RequireAndVerifyClientCert",
            ),
            (
                "client_auth_type: NoClientCerts",
                "client_auth_type",
                "did you mean 'NoClientCert'",
            ),
            (
                "client_auth_type: RequireAndVerifyClientCert",
                "client_auth_type",
                "needs client_ca_file",
            ),
            ("client_ca_file: ca.pem", "client_ca_file", "RequireAndVerifyClientCert"),
            (
                f"{OPTIONAL}, client_allowed_sans: [a]",
                "client_allowed_sans",
                "set client_auth_type: RequireAndVerifyClientCert",
            ),
            ("client_allowed_sans: [a]", "client_allowed_sans", "RequireAndVerify"),
            (
                "cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]",
                "cipher_suites",
                "did you mean 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'",
            ),
            (
                "cipher_suites: [ECDHE-RSA-AES128-GCM-SHA256]",
                "cipher_suites",
                "did you mean 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'",
            ),
            (
                "cipher_suites: [TLS_AES_128_GCM_SHA256]",
                "cipher_suites",
                "names none of TLS 1.2; add one, or set min_version: TLS13",
            ),
        ],
    )
    def test_tls_that_cannot_be_spoken_says_what_can(
        self, web: Path, text: str, key: str, remedy: str
    ) -> None:
        said = complaint(web, f"tls_server_config: {{{PAIR}, {text}}}")

        assert said.startswith(f"tls_server_config.{key}: ")
        assert remedy in said

    @pytest.mark.parametrize(
        ("text", "key", "remedy"),
        [
            ("key_file: key.pem", "cert_file", "missing"),
            ("cert_file: cert.pem", "key_file", "missing"),
            ("min_version: TLS13", "cert_file", "missing"),
            ("client_auth_type: NoClientCert", "cert_file", "missing"),
            (f"{PAIR}, cert: x", "cert_file", "leave one of them out"),
            (f"{PAIR}, key: x", "key_file", "leave one of them out"),
            (f"{PAIR}, {ASKING}, client_ca: x", "client_ca_file", "leave one of them"),
            ("cert_file: none.pem", "cert_file", "none.pem': No such file"),
            ("cert_file: .", "cert_file", "/.': Is a directory"),
            ("cert_file: /dev/null", "cert_file", "not a regular file"),
            ('cert_file: "a\\0b"', "cert_file", "no path at all"),
            ("cert_file: key.pem", "cert_file", "no CERTIFICATE in PEM form"),
            ("cert_file: cert.pem, key_file: ca.pem", "key_file", "no PRIVATE KEY in"),
            ("cert: garbage", "cert", "no CERTIFICATE in PEM form"),
        ],
    )
    def test_a_file_that_is_missing_or_another_is_named(
        self, web: Path, text: str, key: str, remedy: str
    ) -> None:
        said = complaint(web, f"tls_server_config: {{{text}}}")

        assert said.startswith(f"tls_server_config.{key}: ")
        assert remedy in said

    @pytest.mark.parametrize(
        "key",
        [
            pem("ENCRYPTED PRIVATE KEY"),
            pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: A-B,C\n\nAAAA"),
        ],
    )
    def test_an_encrypted_key_is_refused_before_anybody_is_asked(
        self, web: Path, key: str
    ) -> None:
        (web.parent / "key.pem").write_text(key)

        assert "`openssl pkey -in" in complaint(web, f"tls_server_config: {{{PAIR}}}")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "rate_limit: {interval: 1s, burst: 2}",
                "rate_limit: not supported; leave",
            ),
            ("rate_limit: {}", "rate_limit: not supported; leave"),
            ("http_server_config: {http2: true}", "http_server_config.http2: this exp"),
            (
                "http_server_config: {headers: {Server: x}}",
                "http_server_config.headers: 'Server': unknown; want ",
            ),
            (
                "http_server_config: {headers: {x-frame-options: deny}}",
                "http_server_config.headers: 'x-frame-options': unknown; did you mean",
            ),
            (
                "http_server_config: {headers: {X-Frame-Options: none}}",
                "http_server_config.headers.X-Frame-Options: want deny or sameorigin",
            ),
            (
                'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nA: b"}}',
                "http_server_config.headers.X-XSS-Protection: only printable ASCII",
            ),
            (
                'http_server_config: {headers: {X-XSS-Protection: "1é"}}',
                "http_server_config.headers.X-XSS-Protection: only printable ASCII",
            ),
            (f"basic_auth_users: {{'a:b': {HASH}}}", "basic_auth_users: 'a:b': want"),
            (f"basic_auth_users: {{'': {HASH}}}", "basic_auth_users: '': want"),
            (f'basic_auth_users: {{"a\\n": {HASH}}}', "basic_auth_users: 'a\\n': want"),
        ],
    )
    def test_what_else_cannot_be_done_is_said(
        self, web: Path, text: str, said: str
    ) -> None:
        assert complaint(web, text).startswith(said)

    @pytest.mark.parametrize(
        "password",
        [
            "secret",
            "",
            HASH[:-1],
            f"{HASH}G",
            f" {HASH}",
            HASH.replace("$10$", "$03$"),
            HASH.replace("$10$", "$32$"),
            HASH.replace("2y", "2x"),
            HASH.replace("h.zou", "h.zoz"),
            "$6$rounds=5000$abcdefgh$" + "a" * 35,
        ],
    )
    def test_a_password_that_is_no_hash_is_told_how_to_become_one_and_not_shown(
        self, web: Path, password: str
    ) -> None:
        said = complaint(web, f"basic_auth_users: {{prom: '{password}'}}")

        assert said.startswith("basic_auth_users.prom: not a bcrypt hash")
        assert """`htpasswd -nBC 10 "" | tr -d ':\\n'`""" in said
        assert not password or password not in said

    @pytest.mark.parametrize("cost", ["04", "31"])
    def test_every_cost_of_bcrypt_is_taken(self, web: Path, cost: str) -> None:
        hashed = HASH.replace("$10$", f"${cost}$")

        assert loaded(web, f"basic_auth_users: {{prom: {hashed}}}").users

    @pytest.mark.parametrize("name", ["web.yaml", "cert.pem"])
    @pytest.mark.parametrize("kind", ["fifo", "directory", "large", "missing"])
    def test_a_file_that_cannot_be_read_is_named_and_never_waited_for(
        self, web: Path, name: str, kind: str
    ) -> None:
        web.write_text(f"tls_server_config: {{{PAIR}}}")
        path = web.parent / name
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "large":
            path.write_bytes(b"#" * (MAX_BYTES + 1))

        with pytest.raises(ConfigError, match=re.escape(f"cannot read '{path}': ")):
            _in_time(str(web))

    def test_a_file_may_be_as_large_as_the_cap(self, web: Path) -> None:
        web.write_bytes(b"{}".ljust(MAX_BYTES, b"\n"))

        assert load(str(web)) == WebConfig()

    @pytest.mark.usefixtures("no_leaked_files")
    def test_nothing_stays_open(self, web: Path) -> None:
        loaded(web, f"tls_server_config: {{{PAIR}}}")
        complaint(web, "tls_server_config: {cert_file: .}")


def _in_time(file: str) -> None:
    """Load *file*; a thread does, so that one which waits fails the test."""
    caught: list[ConfigError] = []

    def run() -> None:
        try:
            load(file)
        except ConfigError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for a writer"
    if caught:
        raise caught[0]


def nothing_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))


class TestFollowing:
    """A change of any file is seen, and a broken one costs nothing."""

    @pytest.fixture
    def followed(self, web: Path) -> WebConfigWatcher:
        web.write_text(
            f"tls_server_config: {{{PAIR}, {ASKING}}}\nbasic_auth_users: {{a: {HASH}}}"
        )
        return WebConfigWatcher(str(web))

    def test_a_broken_start_is_an_error(self, web: Path) -> None:
        with pytest.raises(ConfigError):
            WebConfigWatcher(str(web))

    def test_nothing_changed_is_nothing_read(
        self, followed: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nothing_may_be_read(monkeypatch)

        assert followed.reload_if_changed() is None
        assert followed.problem == ""

    @pytest.mark.parametrize(
        ("name", "part"),
        [("cert.pem", "cert"), ("key.pem", "key"), ("ca.pem", "client_ca")],
    )
    @pytest.mark.parametrize("way", ["written", "replaced"])
    def test_another_certificate_is_another_configuration(
        self, web: Path, followed: WebConfigWatcher, name: str, part: str, way: str
    ) -> None:
        path = web.parent / name
        new = path.read_text().replace("AAA\n", "AAA\nBBBB\n")
        target = path if way == "written" else path.with_suffix(".new")
        target.write_text(new)
        target.replace(path)

        config = followed.reload_if_changed()

        assert config
        assert getattr(config.tls, part) == new
        assert followed.config is config
        assert followed.reload_if_changed() is None

    def test_a_change_is_read_once(
        self, web: Path, followed: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        web.write_text(f"basic_auth_users: {{b: {HASH}}}")
        assert followed.reload_if_changed()
        nothing_may_be_read(monkeypatch)

        assert followed.reload_if_changed() is None

    def test_another_yaml_may_name_other_files(
        self, web: Path, followed: WebConfigWatcher
    ) -> None:
        web.write_text(f"basic_auth_users: {{b: {HASH}}}")

        assert followed.reload_if_changed() == WebConfig(users={"b": HASH})
        (web.parent / "cert.pem").unlink()
        assert followed.reload_if_changed() is None
        assert followed.problem == ""

    def test_a_secret_of_kubernetes_is_swapped_by_its_link(self, web: Path) -> None:
        for version, body in (("..1", "AAAA"), ("..2", "BBBB")):
            secret = web.parent / version
            secret.mkdir()
            (secret / "web.yaml").write_text(f"tls_server_config: {{{PAIR}}}")
            (secret / "cert.pem").write_text(pem("CERTIFICATE", body))
            (secret / "key.pem").write_text(pem("PRIVATE KEY", body))
            for file in secret.iterdir():
                os.utime(file, (0, 0))
        data = web.parent / "..data"
        data.symlink_to("..1")
        for name in ("web.yaml", "cert.pem", "key.pem"):
            (web.parent / name).unlink(missing_ok=True)
            (web.parent / name).symlink_to(f"..data/{name}")
        followed = WebConfigWatcher(str(web))
        swap = web.parent / "..data_tmp"
        swap.symlink_to("..2")
        swap.replace(data)

        config = followed.reload_if_changed()

        assert config
        assert config.tls == TlsConfig(
            cert=pem("CERTIFICATE", "BBBB"), key=pem("PRIVATE KEY", "BBBB")
        )

    def test_a_link_that_leads_where_it_led_is_not_read_again(
        self, web: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        web.with_name("linked.yaml").symlink_to(web)
        web.write_text(f"tls_server_config: {{{PAIR}}}")
        followed = WebConfigWatcher(str(web.with_name("linked.yaml")))
        nothing_may_be_read(monkeypatch)

        assert followed.reload_if_changed() is None

    def test_a_link_may_lead_astray_and_back(self, web: Path) -> None:
        web.write_text(f"tls_server_config: {{{PAIR}}}")
        link = web.with_name("linked.yaml")
        link.symlink_to(web)
        followed = WebConfigWatcher(str(link))
        link.unlink()
        assert followed.reload_if_changed() is None
        assert followed.problem == f"cannot read '{link}': No such file or directory"

        link.symlink_to(web)

        assert followed.reload_if_changed() is None
        assert followed.problem == ""

    def test_a_touched_file_is_no_change(
        self, web: Path, followed: WebConfigWatcher
    ) -> None:
        os.utime(web, (1, 1))

        assert followed.reload_if_changed() is None
        assert followed.problem == ""

    @pytest.mark.parametrize("name", ["web.yaml", "cert.pem"])
    @pytest.mark.parametrize("how", ["gone", "cut", "garbage"])
    def test_a_broken_file_changes_nothing_until_it_is_repaired(
        self, web: Path, followed: WebConfigWatcher, name: str, how: str
    ) -> None:
        good, path = followed.config, web.parent / name
        text = path.read_text()
        if how == "gone":
            path.unlink()
        else:
            path.write_text(text[:40] if how == "cut" else "{garbage")

        assert followed.reload_if_changed() is None
        assert str(path) in followed.problem or path.stem in followed.problem
        assert followed.config is good
        assert followed.reload_if_changed() is None
        assert followed.problem

        path.write_text(text)
        assert followed.reload_if_changed() is None, "it is what the server has"
        assert followed.problem == ""

        (web.parent / "key.pem").write_text(pem("PRIVATE KEY", "BBBBB"))
        assert followed.reload_if_changed()

    def test_a_broken_file_may_be_repaired_into_another(
        self, web: Path, followed: WebConfigWatcher
    ) -> None:
        web.write_text("rate_limit: {}")
        assert followed.reload_if_changed() is None
        assert followed.problem == (
            f"{web}: rate_limit: not supported; leave it to a reverse proxy"
        )

        web.write_text(f"basic_auth_users: {{b: {HASH}}}")

        assert followed.reload_if_changed() == WebConfig(users={"b": HASH})
        assert followed.problem == ""


words = st.sampled_from(
    [
        *("tls_server_config", "cert_file", "cert", "key", "client_ca", "headers"),
        *("http_server_config", "basic_auth_users", "rate_limit", "client_auth_type"),
        *("client_allowed_sans", "cipher_suites", "min_version", "X-XSS-Protection"),
        *(": ", "\n ", "\n", "{", "}", "[", "]", ", ", "&a ", "*a", "<<", "- ", "|\n "),
        *("!!bool x", "!!int ''", "!!float ''", "!!timestamp x", "2001-13-45", "~"),
        *('"\\0"', '"\\ud800"', '"\\U0001F600"', "0x" + "f" * 9000, "1e999", "TLS12"),
        *(f"'{CERT}'", f"'{KEY}'", HASH, "VerifyClientCertIfGiven", "/dev/null", "."),
    ]
)
yamls = st.binary() | st.text().map(str.encode)
yamls |= st.lists(words).map(lambda some: "".join(some).encode())


@given(yamls)
@example(b"a: !!bool x")
@example(b"[" * 5000)
@example(b"rate_limit: &a {interval: *a}")
@example(b'basic_auth_users: {"\\ud800": "x"}')
@example(b"tls_server_config: {cert: !!int ''}")
@example(b"tls_server_config: 2001-13-45")
@example(b"http_server_config: {headers: {X-XSS-Protection: 0x%s}}" % (b"f" * 9000))
@example(b"\xff\xfe\x00\xd8")
def test_any_bytes_are_a_configuration_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    web = tmp_path_factory.getbasetemp() / "any.yaml"
    web.write_bytes(text)

    said, config = _said_or_loaded(str(web))

    assert said.startswith(f"{web}: ") if config is None else said == ""
    sent = msgspec.json.encode(config)
    assert msgspec.json.decode(sent, type=WebConfig | None) == config


def _said_or_loaded(file: str) -> tuple[str, WebConfig | None]:
    try:
        return "", load(file)
    except ConfigError as error:
        return str(error), None
