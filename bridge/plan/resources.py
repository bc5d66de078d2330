"""What the proxy's container asks of its node, given what the target's container asks.

The proxy runs *beside* the original while a swap begins and ends, and it relays bytes instead of doing the work. So:

    requests  lowered to what a relay needs: a full node, a full quota or a taken GPU must not stop a swap
    limits    kept, but raised where a relay could not live: with 100m of CPU the tunnel runs at a tenth of its speed,
              with 32Mi of memory sshd is killed at the first burst
    devices   (GPUs, huge pages, claims) left out: the process runs on the laptop

A name that was there stays there, because a quota refuses pods that leave out what it counts. Nothing is changed where

    * the pod has resources of its own (KEP-2837): the containers' must fit into them;
    * the process is told of them (``resourceFieldRef`` in env or a volume): GOMAXPROCS or a heap size must not change;
    * the caller says so, having met a LimitRange that asks for more.
"""

from bridge.plan.objects import Object, pod_spec
from bridge.plan.quantity import at_least, at_most

MOST_REQUESTED = {"cpu": "250m", "memory": "128Mi"}
LEAST_LIMIT = {"cpu": "1", "memory": "256Mi"}
ALONE: Object = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": LEAST_LIMIT}


def proxy_resources(template: Object, container: Object) -> Object:
    """Return ``resources`` of the proxy's container for the template's ``container``."""
    wanted: Object = container.get("resources") or {}
    if pod_spec(template).get("resources") or _told_of_resources(template, container):
        return wanted
    limits = _ordinary(wanted.get("limits") or {})
    # A request that is left out is defaulted to the limit: say it, before the limit is raised.
    requests = limits | _ordinary(wanted.get("requests") or {})
    fitting = {
        "requests": {name: at_most(text, MOST_REQUESTED.get(name, text)) for name, text in requests.items()},
        "limits": {name: at_least(text, LEAST_LIMIT.get(name, text)) for name, text in limits.items()},
    }
    return {key: amounts for key, amounts in fitting.items() if amounts}


def _ordinary(amounts: dict[str, str]) -> dict[str, str]:
    """Leave out devices: extended resources have a domain (``nvidia.com/gpu``), huge pages a size."""
    return {name: text for name, text in amounts.items() if "/" not in name and not name.startswith("hugepages-")}


def _told_of_resources(template: Object, container: Object) -> bool:
    """Tell whether a variable or a file holds a resource of ``container``."""
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("resourceFieldRef")
        if reference and reference.get("containerName") in (None, "", container["name"]):
            return True
    return any(
        (item.get("resourceFieldRef") or {}).get("containerName") == container["name"]
        for volume in pod_spec(template).get("volumes") or []
        for item in _downward_items(volume)
    )


def _downward_items(volume: Object) -> list[Object]:
    sources: list[Object] = (volume.get("projected") or {}).get("sources") or []
    return [item for source in (volume, *sources) for item in (source.get("downwardAPI") or {}).get("items") or []]
