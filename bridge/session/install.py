"""``bridge install``: an administrator prepares a namespace, so that the keeper can restore for others, too.

One ServiceAccount with a Role, nothing outside of the namespace; see ``plan.protection`` for what it may and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.cluster.errors import AlreadyExists
from bridge.cluster.workloads import require_namespace
from bridge.plan.objects import name_of
from bridge.plan.protection import install_manifest

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.request import ClusterChoice

_COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def install(where: ClusterChoice) -> list[str]:
    """Create what is missing, and set right what is there; return a line for each object."""
    with connect(kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace) as cluster:
        require_namespace(cluster)
        return [_applied(cluster, item) for item in install_manifest(cluster.namespace)]


def manifest(where: ClusterChoice) -> list[Object]:
    """Return what would be applied."""
    with connect(kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace) as cluster:
        return install_manifest(cluster.namespace)


def _applied(cluster: Cluster, item: Object) -> str:
    path = _COLLECTIONS[item["kind"]].format(cluster.namespace)
    name = f"{item['kind'].lower()}/{name_of(item)}"
    try:
        cluster.create(path, item)
    except AlreadyExists:
        cluster.patch(f"{path}/{name_of(item)}", item)
        return f"{name} was there, and is set right in namespace {cluster.namespace}"
    return f"{name} created in namespace {cluster.namespace}"
