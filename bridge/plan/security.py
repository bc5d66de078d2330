"""Who the proxy's container runs as, and what it may do: the ``restricted`` Pod Security profile, as nearly any uid.

A uid other than 0 that the template asks for is kept: files may be readable to it alone. Where it asks for none, none
is set: the image has its own, and OpenShift assigns one. Root (of the pod or the container) becomes
``UNPRIVILEGED_UID``, and what only root could read is made readable. The group and SELinux labels are kept, for they
decide on volumes too.
"""

from bridge.plan.objects import Object
from bridge.plan.volumes import make_readable

UNPRIVILEGED_UID = 65532
PORT_SYSCTL = "net.ipv4.ip_unprivileged_port_start"
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def restricted(pod: Object, container: Object) -> Object:
    """Return the security context for ``container``, given the target's; may open file modes in ``pod``'s volumes."""
    old = container.get("securityContext") or {}
    of_pod = pod.get("securityContext") or {}
    kept = {key: old[key] for key in ("runAsGroup", "seLinuxOptions") if old.get(key) is not None}
    uid = old.get("runAsUser", of_pod.get("runAsUser"))
    if not uid:
        make_readable(pod, container)
    user = {} if uid is None else {"runAsUser": uid or UNPRIVILEGED_UID}
    return {
        **user,
        **kept,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def allow_low_ports(pod: Object) -> None:
    """Let any uid listen below 1024 in this pod: a safe sysctl, and one that the restricted profile allows."""
    security = pod["securityContext"] = dict(pod.get("securityContext") or {})
    others = [sysctl for sysctl in security.get("sysctls") or [] if sysctl["name"] != PORT_SYSCTL]
    security["sysctls"] = [*others, {"name": PORT_SYSCTL, "value": "0"}]
