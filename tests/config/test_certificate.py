"""A certificate is described as openssl describes it; garbage as far as it goes."""

import hashlib
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.certificate import describe_certificate
from tests.support.web_files import pem


@pytest.mark.parametrize("days", [1, 20_000], ids=["two digits", "four digits"])
def test_fingerprint_and_expiry_are_those_of_openssl(tmp_path: Path, days: int) -> None:
    """From 2050 on, years have four digits (RFC 5280, 4.1.2.5)."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=a"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-days", str(days)),
            *("-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    command = [
        "openssl",
        "x509",
        "-noout",
        "-in",
        "cert.pem",
        "-fingerprint",
        "-sha256",
    ]
    command += ["-enddate", "-dateopt", "iso_8601"]
    done = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    fingerprint, expiry = (line.split("=")[1] for line in done.stdout.splitlines())

    text = describe_certificate((tmp_path / "cert.pem").read_text())

    expected = fingerprint.replace(":", "").lower()
    assert text == f"sha256:{expected}, valid until {expiry.removesuffix('Z')} UTC"


def test_a_text_that_is_no_certificate_has_no_expiry() -> None:
    fingerprint = hashlib.sha256(bytes(3)).hexdigest()

    assert describe_certificate(pem("CERTIFICATE")) == f"sha256:{fingerprint}"
    assert describe_certificate(pem("CERTIFICATE", "AAAAA")) == "unreadable"


@given(st.binary())
def test_any_certificate_is_described(der: bytes) -> None:
    text = ssl.DER_cert_to_PEM_cert(der)

    assert describe_certificate(text).startswith("sha256:")
