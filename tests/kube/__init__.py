"""A real Kubernetes API server for the manifests: how it is built, started, asked; what `make kube-test` runs.

It proves that an API server takes the objects and stores them as they are written. There is no scheduler, no
controller manager and no kubelet here: no pod runs, nothing is scaled, no network policy is enforced.
"""
