"""A directory for a web configuration file."""

from pathlib import Path

import pytest

from tests.support.web_files import CA, CERT, KEY


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Return the path for web.yaml; beside it are cert.pem, key.pem and ca.pem."""
    (tmp_path / "cert.pem").write_text(CERT)
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "ca.pem").write_text(CA)
    return tmp_path / "web.yaml"
