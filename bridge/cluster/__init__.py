"""Everything that speaks to the API server; the only importer of ``kubernetes``. Objects stay plain JSON.

kubeconfig credentials (execplugin, authproviders) proxies tls     where, and as whom
calls transport client parallel                                    requests, watches
errors refused connections                                         what is said when it fails (pure)
access workloads pods trouble portforward execute                  what a session asks of a cluster
"""

from bridge.cluster.client import Cluster, connect

__all__ = ["Cluster", "connect"]
