"""Kafka: connections to a broker, behind ports of the domain. No rows and no requests here."""
