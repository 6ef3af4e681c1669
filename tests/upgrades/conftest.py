"""Databases of either kind, made as for the integration tests."""

from tests.integration.conftest import database_url, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "postgres_server", "postgres_url", "sqlite_url"]
