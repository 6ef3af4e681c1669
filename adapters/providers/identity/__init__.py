"""Identities at clouds: signatures, and tokens renewed in time. Rows of them: `service.domain.cloud_auth`."""
