"""Alert rules and dashboards before a real Prometheus."""
