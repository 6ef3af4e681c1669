"""What tests of the manifests share."""

from __future__ import annotations

import pytest
import trustme


@pytest.fixture(scope="session")
def certificate() -> str:
    """An authority's certificate as PEM, as brokers' operators give it out."""
    return trustme.CA().cert_pem.bytes().decode()
