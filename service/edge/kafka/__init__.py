"""Kafka as a door beside gRPC and HTTP: what a record says, and in whose name.

Pure: no broker, no client library, no clock and no database stand here. Whoever consumes hands records in.
"""
