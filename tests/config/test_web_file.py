"""The web configuration file: what it becomes, and the errors of what is invalid."""

import os
import re
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.web import TlsConfig, WebConfig
from exporter.config.web_watcher import MAX_BYTES, load
from exporter.errors import ConfigError
from tests.support.web_files import CA, CERT, HASH, KEY, OPTIONAL, PAIR, REQUIRED, pem

AES = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
CHACHA = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"


def loaded(web: Path, text: str) -> WebConfig:
    web.write_text(text)
    return load(str(web))


def tls(web: Path, text: str) -> TlsConfig:
    """Return the TlsConfig of a tls_server_config with a certificate and *text*."""
    config = loaded(web, f"tls_server_config: {{{PAIR}, {text}}}").tls
    assert config
    return config


def error_of(web: Path, text: str) -> str:
    """Return the error of a configuration, without the file that it begins with."""
    with pytest.raises(ConfigError) as caught:
        loaded(web, text)
    error, prefix = str(caught.value), f"{web}: "
    assert error.startswith(prefix)
    return error.removeprefix(prefix)


class TestLoad:
    """The file becomes the configuration of the server."""

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
    def test_an_empty_configuration_is_plain_http_without_authentication(
        self, web: Path, text: str
    ) -> None:
        assert loaded(web, text) == WebConfig()

    def test_paths_are_relative_to_the_file(self, web: Path) -> None:
        config = loaded(web, f"tls_server_config: {{{PAIR}}}")

        assert config == WebConfig(tls=TlsConfig(cert=CERT, key=KEY))

    def test_an_absolute_path_stays_as_it_is(
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

    def test_certificates_may_be_inline(self, web: Path) -> None:
        section = {"cert": CERT, "key": KEY, "client_ca": CA}
        section |= {"client_auth_type": "VerifyClientCertIfGiven"}
        text = msgspec.yaml.encode({"tls_server_config": section}).decode()

        config = loaded(web, text)

        tls = TlsConfig(cert=CERT, key=KEY, client_ca=CA, client_auth="optional")
        assert config == WebConfig(tls=tls)

    @pytest.mark.parametrize(
        ("text", "changes"),
        [
            ("client_auth_type: NoClientCert", {}),
            (REQUIRED, {"client_ca": CA, "client_auth": "required"}),
            (
                f"{REQUIRED}, client_allowed_sans: [a.test, 'spiffe://test/a']",
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
    def test_each_key_of_tls_is_converted(
        self, web: Path, text: str, changes: dict[str, object]
    ) -> None:
        plain = TlsConfig(cert=CERT, key=KEY)

        assert tls(web, text) == msgspec.structs.replace(plain, **changes)

    def test_headers_and_users_are_passed_on(self, web: Path) -> None:
        config = loaded(
            web,
            "http_server_config: {headers: {X-Frame-Options: deny, "
            "X-XSS-Protection: 0, Content-Security-Policy: ''}}\n"
            f"basic_auth_users: {{prom: {HASH}, Jörg Maß: {HASH}}}\n",
        )

        assert config.headers == {"X-Frame-Options": "deny", "X-XSS-Protection": "0"}
        assert config.users == {"prom": HASH, "Jörg Maß": HASH}

    def test_only_the_expected_pem_blocks_are_passed_on(self, web: Path) -> None:
        both = (
            f"# né\nDH {pem('EC PARAMETERS')}{pem('EC PRIVATE KEY')}{CERT}\x01{CA}{KEY}"
        )
        for name in ("cert.pem", "key.pem"):
            (web.parent / name).write_text(both, encoding="latin-1")

        config = tls(web, "")

        assert config.cert == CERT + CA
        assert config.key == pem("EC PRIVATE KEY")

    def test_json_preserves_the_configuration(self, web: Path) -> None:
        config = loaded(
            web,
            f"tls_server_config: {{{PAIR}, {REQUIRED}}}\n"
            f"basic_auth_users: {{ö: {HASH}}}",
        )

        sent = msgspec.json.encode(config)

        assert msgspec.json.decode(sent, type=WebConfig) == config


class TestMistakes:
    """Every error names the file, the key and the remedy."""

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
    def test_an_unknown_key_suggests_the_nearest(
        self, web: Path, text: str, key: str, nearest: str
    ) -> None:
        error = error_of(web, text)

        assert f"`{key}`" in error
        assert error.endswith(f"; did you mean {nearest!r}?")

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
                f"tls_server_config: {{{PAIR}, {REQUIRED}, client_allowed_sans: []}}",
                "$.tls_server_config.client_allowed_sans",
            ),
            (
                f"tls_server_config: {{{PAIR}, {REQUIRED}, client_allowed_sans: ['']}}",
                "$.tls_server_config.client_allowed_sans[0]",
            ),
        ],
    )
    def test_a_value_of_the_wrong_type_is_named_with_its_place(
        self, web: Path, text: str, place: str
    ) -> None:
        assert place in error_of(web, text)

    @pytest.mark.parametrize(
        ("text", "key", "remedy"),
        [
            ("curve_preferences: [X25519]", "curve_preferences", "remove it"),
            ("min_version: TLS10", "min_version", "use TLS12 or TLS13"),
            ("max_version: TLS11", "max_version", "use TLS12 or TLS13"),
            ("min_version: tls13", "min_version", "valid: TLS12, TLS13"),
            ("min_version: TLS1", "min_version", "did you mean 'TLS1"),
            ("min_version: ''", "min_version", "valid: TLS12, TLS13"),
            (
                "min_version: TLS13, max_version: TLS12",
                "min_version",
                "TLS13 is above max_version, TLS12",
            ),
            (
                "client_auth_type: RequestClientCert",
                "client_auth_type",
                "use RequireAndVerifyClientCert",
            ),
            (
                "client_auth_type: RequireAnyClientCert",
                "client_auth_type",
                "use RequireAndVerifyClientCert",
            ),
            (
                "client_auth_type: RequireClientCert",
                "client_auth_type",
                "use RequireAndVerifyClientCert",
            ),
            (
                "client_auth_type: NoClientCerts",
                "client_auth_type",
                "did you mean 'NoClientCert'",
            ),
            (
                "client_auth_type: RequireAndVerifyClientCert",
                "client_auth_type",
                "requires client_ca_file",
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
                "contains none for TLS 1.2; add one, or set min_version: TLS13",
            ),
        ],
    )
    def test_an_unsupported_value_of_tls_has_a_remedy(
        self, web: Path, text: str, key: str, remedy: str
    ) -> None:
        error = error_of(web, f"tls_server_config: {{{PAIR}, {text}}}")

        assert error.startswith(f"tls_server_config.{key}: ")
        assert remedy in error

    @pytest.mark.parametrize(
        ("text", "key", "remedy"),
        [
            ("key_file: key.pem", "cert_file", "missing"),
            ("cert_file: cert.pem", "key_file", "missing"),
            ("min_version: TLS13", "cert_file", "missing"),
            ("client_auth_type: NoClientCert", "cert_file", "missing"),
            (f"{PAIR}, cert: x", "cert_file", "remove one of them"),
            (f"{PAIR}, key: x", "key_file", "remove one of them"),
            (
                f"{PAIR}, {REQUIRED}, client_ca: x",
                "client_ca_file",
                "remove one of them",
            ),
            ("cert_file: none.pem", "cert_file", "none.pem': No such file"),
            ("cert_file: .", "cert_file", "/.': Is a directory"),
            ("cert_file: /dev/null", "cert_file", "not a regular file"),
            ('cert_file: "a\\0b"', "cert_file", "not a valid path"),
            (
                "cert_file: key.pem",
                "cert_file",
                "contains no CERTIFICATE in PEM format",
            ),
            (
                "cert_file: cert.pem, key_file: ca.pem",
                "key_file",
                "contains no PRIVATE KEY",
            ),
            ("cert: garbage", "cert", "contains no CERTIFICATE in PEM format"),
        ],
    )
    def test_a_missing_or_wrong_file_is_named(
        self, web: Path, text: str, key: str, remedy: str
    ) -> None:
        error = error_of(web, f"tls_server_config: {{{text}}}")

        assert error.startswith(f"tls_server_config.{key}: ")
        assert remedy in error

    @pytest.mark.parametrize(
        "key",
        [
            pem("ENCRYPTED PRIVATE KEY"),
            pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: A-B,C\n\nAAAA"),
        ],
    )
    def test_an_encrypted_key_is_an_error_with_a_remedy(
        self, web: Path, key: str
    ) -> None:
        (web.parent / "key.pem").write_text(key)

        assert "`openssl pkey -in" in error_of(web, f"tls_server_config: {{{PAIR}}}")

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (
                "rate_limit: {interval: 1s, burst: 2}",
                "rate_limit: not supported; use",
            ),
            ("rate_limit: {}", "rate_limit: not supported; use"),
            ("http_server_config: {http2: true}", "http_server_config.http2: only"),
            (
                "http_server_config: {headers: {Server: x}}",
                "http_server_config.headers: 'Server': unknown; valid: ",
            ),
            (
                "http_server_config: {headers: {x-frame-options: deny}}",
                "http_server_config.headers: 'x-frame-options': unknown; did you mean",
            ),
            (
                "http_server_config: {headers: {X-Frame-Options: none}}",
                "http_server_config.headers.X-Frame-Options: must be deny or",
            ),
            (
                'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nA: b"}}',
                "http_server_config.headers.X-XSS-Protection: must be one line",
            ),
            (
                'http_server_config: {headers: {X-XSS-Protection: "1é"}}',
                "http_server_config.headers.X-XSS-Protection: must be one line",
            ),
            (f"basic_auth_users: {{'a:b': {HASH}}}", "basic_auth_users: 'a:b': must"),
            (f"basic_auth_users: {{'': {HASH}}}", "basic_auth_users: '': must"),
            (f'basic_auth_users: {{"a\\n": {HASH}}}', "basic_auth_users: 'a\\n': must"),
        ],
    )
    def test_other_unsupported_values_are_errors(
        self, web: Path, text: str, error: str
    ) -> None:
        assert error_of(web, text).startswith(error)

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
    def test_a_plain_password_is_not_shown_and_has_a_remedy(
        self, web: Path, password: str
    ) -> None:
        error = error_of(web, f"basic_auth_users: {{prom: '{password}'}}")

        assert error.startswith("basic_auth_users.prom: not a bcrypt hash")
        assert """`htpasswd -nBC 10 "" | tr -d ':\\n'`""" in error
        assert not password or password not in error

    @pytest.mark.parametrize("cost", ["04", "31"])
    def test_every_cost_of_bcrypt_is_valid(self, web: Path, cost: str) -> None:
        hashed = HASH.replace("$10$", f"${cost}$")

        assert loaded(web, f"basic_auth_users: {{prom: {hashed}}}").users

    @pytest.mark.parametrize("name", ["web.yaml", "cert.pem"])
    @pytest.mark.parametrize("kind", ["fifo", "directory", "large", "missing"])
    def test_an_unreadable_file_is_named_and_does_not_block(
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

    def test_a_file_may_have_the_maximum_size(self, web: Path) -> None:
        web.write_bytes(b"{}".ljust(MAX_BYTES, b"\n"))

        assert load(str(web)) == WebConfig()

    @pytest.mark.usefixtures("no_leaked_files")
    def test_nothing_stays_open(self, web: Path) -> None:
        loaded(web, f"tls_server_config: {{{PAIR}}}")
        error_of(web, "tls_server_config: {cert_file: .}")


def _in_time(file: str) -> None:
    """Load *file* in a thread, so that blocking fails the test."""
    caught: list[ConfigError] = []

    def run() -> None:
        try:
            load(file)
        except ConfigError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it blocks"
    if caught:
        raise caught[0]


WORDS = st.sampled_from(
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
YAMLS = st.binary() | st.text().map(str.encode)
YAMLS |= st.lists(WORDS).map(lambda words: "".join(words).encode())


@given(YAMLS)
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

    error, config = _load(str(web))

    assert error.startswith(f"{web}: ") if config is None else error == ""
    sent = msgspec.json.encode(config)
    assert msgspec.json.decode(sent, type=WebConfig | None) == config


def _load(file: str) -> tuple[str, WebConfig | None]:
    try:
        return "", load(file)
    except ConfigError as error:
        return str(error), None
