"""The preliminaries: what is there, what is allowed, what is in the way. Nothing is changed here."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

from bridge.cluster.access import require_rights
from bridge.cluster.errors import NotFound
from bridge.cluster.execute import image_environment as read_environment
from bridge.cluster.workloads import find_workload, pods_of, services_of
from bridge.errors import ClusterError
from bridge.plan.access import Purpose, needed_rights
from bridge.plan.target import WorkloadKind, check_swappable
from bridge.plan.undo import check_unclaimed
from bridge.session.intend import Situation

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.intend import Plan
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest

def holder() -> str:
    """Tell who runs this, and where: ``ann@laptop``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a passwd entry
        user = f"uid{os.getuid()}"
    return f"{user}@{os.uname().nodename}"
