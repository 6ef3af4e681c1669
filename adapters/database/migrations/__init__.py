"""Alembic's folder: `env` runs what stands in `versions`, one module per revision."""
