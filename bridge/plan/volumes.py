"""The target's volumes, and bridge's own, in a container that runs bridge's image as an ordinary user.

The target's are mounted where it has them, so that the keeper can serve them under the paths that the process knows.
Two things stand against that:

    a mount over what our image runs from      left out, with a note: ``/``, ``/etc``, ``/run``, ``/usr``, ``/lib``...
    files that only root could read            a target that may be root gets its projected files (Secrets,
                                               ConfigMaps, tokens) readable by all in this one pod

Bridge's own, in that one container alone:

    /etc/bridge         the session's Secret
    /etc/bridge-guard   the keeper's token, where it has one (``protection``)
    /run/bridge         memory, for what is written at run time
"""

import posixpath
from collections.abc import Iterator

from bridge.plan.names import free_name
from bridge.plan.objects import Object, pod_spec

SETTINGS_PATH = "/etc/bridge"
GUARD_PATH = "/etc/bridge-guard"
RUN_PATH = "/run/bridge"
READABLE = 0o444
_TOKEN_FILES = ("token", "ca.crt", "namespace")

# The image's own: interpreter, sshd, libraries, keeper, and what bridge mounts.
_NEEDED = (
    "/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/local/bin",
    "/usr/local/lib", "/opt/bridge", "/proc", "/dev", SETTINGS_PATH, GUARD_PATH, RUN_PATH,
)  # fmt: skip
_PROJECTED = ("secret", "configMap", "downwardAPI", "projected")


def drop_shadowing_mounts(template: Object, container: Object) -> list[str]:
    """Take the mounts that would hide our image's files from ``container`` (ours to change); return notes."""
    mounts = container.get("volumeMounts") or []
    hiding = [mount for mount in mounts if _hides(mount["mountPath"])]
    if hiding:
        container["volumeMounts"] = [mount for mount in mounts if mount not in hiding]
    kinds = {volume["name"]: volume for volume in pod_spec(template).get("volumes") or []}
    return [
        f"volume {mount['name']} at {mount['mountPath']} is not available: the proxy's own files are there"
        for mount in hiding
        if "emptyDir" not in kinds.get(mount["name"], {})
    ]


def _hides(path: str) -> bool:
    """Tell whether a mount at ``path`` covers a needed path, or lies within one of bridge's own."""
    there = posixpath.normpath("/" + path.lstrip("/"))
    there = there.removeprefix("/var") if there.startswith("/var/run") else there  # a link to /run in our image
    covers = any(needed == there or needed.startswith(there.rstrip("/") + "/") for needed in _NEEDED)
    return covers or there.startswith((SETTINGS_PATH + "/", GUARD_PATH + "/", RUN_PATH + "/"))


def make_readable(pod: Object, container: Object) -> None:
    """Give all users read access to the projected files that ``container`` mounts (both ours to change).

    Not needed where the pod has an fsGroup: the kubelet gives that group the files, and every container is in it.
    """
    if (pod.get("securityContext") or {}).get("fsGroup") is not None:
        return
    mounted = {mount["name"] for mount in container.get("volumeMounts") or []}
    for volume in pod.get("volumes") or []:
        if volume["name"] in mounted:
            for source in _sources(volume):
                _open_modes(source)


def _sources(volume: Object) -> Iterator[Object]:
    for kind in _PROJECTED:
        if volume.get(kind):
            yield volume[kind]
    for source in (volume.get("projected") or {}).get("sources") or []:
        yield from _sources(source)


def _open_modes(source: Object) -> None:
    if source.get("defaultMode") is not None:
        source["defaultMode"] |= READABLE
    for item in source.get("items") or []:
        if item.get("mode") is not None:
            item["mode"] |= READABLE


def mount_ours(pod: Object, container: Object, *, secret: str, guard: str) -> None:
    """Mount bridge's own volumes in ``container`` of ``pod`` (both ours to change).

    ``secret``, ``guard``: the Secrets with the session's keys and with the keeper's token (empty: none).
    """
    wanted = [("bridge-secret", SETTINGS_PATH, _secret(secret))]
    if guard:
        # Not optional, and each file by its name: the kubelet waits until the token controller has filled it in.
        items = [{"key": key, "path": key} for key in _TOKEN_FILES]
        wanted.append(("bridge-guard", GUARD_PATH, _secret(guard, items=items)))
    wanted.append(("bridge-run", RUN_PATH, {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}))
    for name, path, source in wanted:
        _mount(pod, container, name, path, source)


def _secret(name: str, **more: object) -> Object:
    """Name a Secret as the source of a volume; world-readable: we run as any uid, and the files are root's."""
    return {"secret": {"secretName": name, "defaultMode": READABLE, **more}}


def _mount(pod: Object, container: Object, wanted: str, path: str, source: Object) -> None:
    volumes = pod.get("volumes") or []
    name = free_name(wanted, [volume["name"] for volume in volumes])
    mount: Object = {"name": name, "mountPath": path} | ({"readOnly": True} if "secret" in source else {})
    pod["volumes"] = [*volumes, {"name": name} | source]
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
