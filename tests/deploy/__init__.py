"""What is deployed: the image, the manifests, alerts and dashboards."""
