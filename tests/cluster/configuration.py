"""What the cluster's programs are told: addresses, and the files of containerd, kubelet, kube-proxy, CoreDNS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

NODE: Final = "node-1"
ADDRESS: Final = "192.168.77.1"
"""The node's; servers outside of the cluster listen here, too."""

SERVICES: Final = "10.96.0.0/16"
PODS: Final = "10.244.0.0/24"
DNS: Final = "10.96.0.10"
HOSTS: Final = (ADDRESS, "10.96.0.1", "kubernetes.default.svc")
"""What the API server's certificate is for, besides loopback."""

PAUSE: Final = "eurouter.test/pause:1"
COREDNS: Final = "eurouter.test/coredns:1"
PLUGINS: Final = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins lie."""

SYNC_SECONDS: Final = 5
"""How often the kubelet brings changed Secrets and ConfigMaps into pods; a minute where nobody says otherwise."""


def write(folder: Path) -> None:
    """Writes the files; the folder's name is that of the control groups."""
    (folder / "cni").mkdir()
    (folder / "cni" / "10-bridge.conflist").write_text(json.dumps(_network()), encoding="utf-8")
    (folder / "containerd.toml").write_text(_containerd(folder), encoding="utf-8")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="utf-8")
    (folder / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(folder)), encoding="utf-8")
    (folder / "proxy.yaml").write_text(yaml.safe_dump(_proxy(folder)), encoding="utf-8")


def _network() -> dict[str, Any]:
    bridge = {
        "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }  # fmt: skip
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}


def _containerd(folder: Path) -> str:
    return f"""version = 3
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE}"

[plugins.'io.containerd.cri.v1.runtime']
  # A root without CAP_SYS_RESOURCE may not lower it, as sandboxes would have it.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{PLUGINS}"]
    conf_dir = "{folder}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "runc"
        SystemdCgroup = false
"""


def _kubelet(folder: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # Control groups of the first version, which this kubelet refuses unless it is told.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{folder.name}",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        # Nobody else is in this network.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "failSwapOn": False,
        "syncFrequency": f"{SYNC_SECONDS}s",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "podLogsDir": str(folder / "logs"),
    }


def _proxy(folder: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(folder / "control" / "kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": PODS,
        # The table's size is the machine's, not the network namespace's: it stays as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def names() -> str:
    """CoreDNS as clusters have it: a Deployment, its rights, and the Service that pods are told of."""
    labels = {"k8s-app": "kube-dns"}
    meta = {"name": "coredns", "namespace": "kube-system"}
    plugins = ("errors", "health", "ready", "kubernetes cluster.local in-addr.arpa", "cache 5", "loadbalance")
    corefile = f".:53 {{\n{chr(10).join(plugins)}\n}}\n"
    container = {
        "name": "coredns", "image": COREDNS, "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "file", "mountPath": "/etc/coredns"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
    }  # fmt: skip
    pod = {
        "serviceAccountName": "coredns", "dnsPolicy": "Default", "containers": [container],
        "volumes": [{"name": "file", "configMap": {"name": "coredns"}}],
    }  # fmt: skip
    read = {"verbs": ["list", "watch"]}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], **read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], **read},
    ]
    ports = [{"name": protocol.lower(), "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"}
    rbac = "rbac.authorization.k8s.io/v1"
    template = {"metadata": {"labels": labels}, "spec": pod}
    return yaml.safe_dump_all([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "coredns"}, "rules": rules},
        {
            "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "coredns"}, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **meta}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"Corefile": corefile}},
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {**meta, "name": "kube-dns"},
            "spec": {"clusterIP": DNS, "selector": labels, "ports": ports},
        },
    ])  # fmt: skip
