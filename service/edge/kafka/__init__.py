"""Kafka as a door beside gRPC and HTTP: what a record says, in whose name, what becomes of it, and what goes out.

No broker, no client library and no clock of its own stand here. Whoever consumes hands records in; the database is
reached by the domain's ports alone, by `acceptance`.
"""
