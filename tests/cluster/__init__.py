"""A real cluster on one machine, which runs what deploy/kubernetes says; what `make cluster-test` runs.

Control plane, kubelet, containerd and kube-proxy are upstream's own, built from Go modules; containers are runc's.
It is one node, and no network plugin enforces policies.
"""
