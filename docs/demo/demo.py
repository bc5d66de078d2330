"""The story of the demo, told by itself: make demo, or make demo CONTEXT=name for a cluster of your own.

Each step says what is done, shows what the users see (their own log lines), and ends the program with an error if
that isn't what was told. Nothing is faked and nothing is timed with a sleep: a step ends when its lines have come.

    environment     CONTEXT        a kubeconfig context instead of the local cluster (make cluster)
                    DEMO_REGISTRY  where that cluster finds the demo's images (make demo-images); default: on its nodes
                    IMAGE          bridge's proxy image, if it is not the default one
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.demo.stage import (
    BOLD,
    DIM,
    GREEN,
    NAMESPACE,
    RED,
    Answer,
    Kubectl,
    Laptop,
    NotAsTold,
    Session,
    ThisMachine,
    Users,
    expect,
    say,
    shell,
    show,
    step,
    swapped,
    users_log,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BEGAN = time.monotonic()
MANIFESTS = Path(__file__).with_name("k8s")
OURS = ("--selector", "app.kubernetes.io/part-of=bridge-demo")
APPLICATION = ("gateway", "auth", "tasks", "tasks-canary", "search", "tasks-db", "users")
GREETING, NEW_GREETING = "hello tasks", "good morning from my editor"
NEW_TASK, SOUGHT = "try bridge", "try"

# What is edited is a copy in the user's home, never the repository.
COPY = 'there="$HOME/bridge-demo/docs/demo"; rm -rf "$there"; mkdir -p "$there"; cp -r docs/demo/tasks "$there"'
REMOVE = 'rm -rf "$HOME/bridge-demo"'
EDIT = 'sed -i "s/^GREETING = .*/GREETING = \\"$1\\"/" "$HOME/bridge-demo/docs/demo/tasks/app.py"'


# -- the story ------------------------------------------------------------------------------------------------------
def deploy(kubectl: Kubectl) -> None:
    manifests = kubectl("kustomize", str(MANIFESTS))
    if registry := os.environ.get("DEMO_REGISTRY"):
        manifests = manifests.replace("image: bridge-demo-", f"image: {registry.rstrip('/')}/bridge-demo-")
    kubectl("apply", "--filename", "-", stdin=manifests)
    try:
        kubectl("rollout", "status", "deployment", *OURS, "--namespace", NAMESPACE, "--timeout", "90s")
    except NotAsTold as error:
        raise NotAsTold(f"{error}: {why_not(kubectl)}") from error
    ready = {d["metadata"]["name"]: d["status"].get("readyReplicas", 0) for d in kubectl.get("deployments")["items"]}
    show([", ".join(f"{name} {count}" for name, count in sorted(ready.items()))], DIM)
    expect(all(ready[name] for name in APPLICATION), "each has a ready pod. (A dead session's swap? bridge restore)")


def why_not(kubectl: Kubectl) -> str:
    """What the pods wait for; for images, what to do."""
    waiting = {
        f"{status['name']}: {status['state']['waiting'].get('reason')} {status['image']}"
        for pod in kubectl.get("pods")["items"]
        for status in pod["status"].get("containerStatuses", [])
        if "waiting" in status["state"]
    }
    text = "; ".join(sorted(waiting)) or "its pods say nothing"
    if "Image" in text or "ErrNeverPull" in text:
        text += "\nThe nodes don't have the demo's images: see docs/demo/README.md, `On your own cluster`"
    return text


def from_host(name: str) -> Callable[[Answer], bool]:
    return lambda answer: answer.host == name


def from_pod(track: str) -> Callable[[Answer], bool]:
    name = {"stable": "tasks-", "canary": "tasks-canary-"}[track]
    return lambda answer: answer.track == track and answer.host.startswith(name)


def seen_from_the_cluster(kubectl: Kubectl, users: Users) -> None:
    users.until("stable and canary", from_pod("stable"), from_pod("canary"))
    refused = kubectl.ask_gateway("/tasks/", header='"Authorization: none"')
    show([f"without the header: {refused.splitlines()[-1]} {refused.splitlines()[0]}"])
    expect(refused.endswith("401"), "auth refuses a request without the header")


def seen_from_the_laptop(kubectl: Kubectl, users: Users, host: str, session: Session) -> None:
    rows = int(kubectl.in_pod("tasks-db", "redis-cli", "llen", "tasks"))
    came = users.until("answers from the laptop", from_host(host), meanwhile=session.show_account)
    expect(
        all(answer.count == rows for answer in came if answer.host == host),
        f"the laptop's answers have the {rows} rows of the cluster's database",
    )


def seen_in_the_database(kubectl: Kubectl, users: Users, host: str) -> None:
    status = kubectl.ask_gateway("/tasks/", "--data", NEW_TASK)
    expect(status.endswith("200"), f"a new task goes through the laptop to the database: {status!r}")
    users.until(
        "the new task in the laptop's and in the canary's answers",
        lambda answer: answer.host == host and NEW_TASK in answer.tasks,
        lambda answer: from_pod("canary")(answer) and NEW_TASK in answer.tasks,
    )
    found = kubectl.ask_gateway(f"/search/?q={SOUGHT}")
    expect(NEW_TASK in found, f"search, in the cluster, asks the laptop for tasks: {found!r}")
    show([f"search for {SOUGHT!r}, which asks tasks: {found.splitlines()[0]}"])


def seen_after_an_edit(users: Users, laptop: Laptop, host: str, session: Session) -> None:
    say(f'   in the editor: GREETING = "{NEW_GREETING}"')
    shell(laptop, EDIT, NEW_GREETING)
    users.until(
        "the new greeting from the laptop, the old one from the canary",
        lambda answer: answer.host == host and answer.greeting == NEW_GREETING,
        lambda answer: from_pod("canary")(answer) and answer.greeting == GREETING,
        meanwhile=session.show_account,
    )


def seen_at_the_end(users: Users, session: Session) -> None:
    session.account()
    say("   Ctrl-C", BOLD)
    code = session.interrupt()
    show(session.account(), DIM)
    expect(code == 0, f"bridge ends with the exit code of the process, 0 (it was {code})")
    users.see()  # what came until now may be the laptop's
    users.until("the original again", from_pod("stable"))


def compare(kubectl: Kubectl, before: Any) -> None:
    """The Deployment as it was, and nothing of ours left."""
    after = kubectl.get("deployment", "tasks")
    expect(after["spec"] == before["spec"], "the Deployment's spec is the same before and after")
    show(["the spec of deployment/tasks before and after: identical"])
    ours = [name for name in after["metadata"].get("annotations", {}) if name.startswith("bridge.internal/")]
    expect(not ours, f"no annotation of bridge is left: {ours}")
    left = kubectl.get("secrets,replicasets,pods", "--selector", "bridge.internal/session")["items"]
    names = [
        f"{item['kind']}/{item['metadata']['name']}" for item in left if "deletionTimestamp" not in item["metadata"]
    ]
    expect(not names, f"no object of bridge is left: {names}")
    show(["objects of bridge in the namespace: none"])


def tell(kubectl: Kubectl, laptop: Laptop, options: list[str]) -> None:
    with step(1, "The application: Envoy, auth, tasks (stable and canary), search, a database, and its users"):
        deploy(kubectl)
        forget_new_task(kubectl)  # an earlier story's
        before = kubectl.get("deployment", "tasks")
    user, host = shell(laptop, "id -un"), shell(laptop, "uname -n")
    with users_log(kubectl) as users, ExitStack() as stack:
        with step(2, "The users' answers, from the cluster"):
            seen_from_the_cluster(kubectl, users)
        with step(3, f"tasks is swapped for a process on the laptop {host}, which user {user} starts"):
            shell(laptop, COPY)
            stack.callback(shell, laptop, REMOVE)
            session = stack.enter_context(swapped(laptop, options))
            seen_from_the_laptop(kubectl, users, host, session)
        with step(4, f"A new task, {NEW_TASK!r}: the laptop writes it, the canary reads it from the same database"):
            seen_in_the_database(kubectl, users, host)
        with step(5, "An edit: bridge starts the process again, and no user waits for long"):
            seen_after_an_edit(users, laptop, host, session)
        with step(6, "The end: the original is back"):
            seen_at_the_end(users, session)
        with step(7, "Before and after"):
            compare(kubectl, before)
            users.see()
            show([f"the users' requests: {users.answers} answered, {len(users.failures)} failed", *users.failures[:5]])
            expect(not users.failures, "no user saw a failure")
    forget_new_task(kubectl)
    kubectl("scale", "--namespace", NAMESPACE, "deployment/users", "--replicas", "0")
    say("\nThe users went home. `kubectl apply -k docs/demo/k8s` calls them back, `delete -k` removes everything.")


def forget_new_task(kubectl: Kubectl) -> None:
    kubectl.in_pod("tasks-db", "redis-cli", "lrem", "tasks", "0", NEW_TASK)


def local_cluster() -> tuple[Kubectl, Laptop, list[str]]:
    """The cluster that `make cluster` has made: kubectl as its administrator, bridge as the laptop's ordinary user."""
    from tests.cluster.laptop import Laptop as LocalLaptop  # root's, on Linux only
    from tests.cluster.settings import Settings

    settings = Settings()
    kubectl = Kubectl((str(settings.binaries / "kubectl"), "--kubeconfig", str(settings.kubeconfig)))
    return kubectl, LocalLaptop(settings), [*image_option(), "--namespace", NAMESPACE]


def foreign_cluster(context: str) -> tuple[Kubectl, Laptop, list[str]]:
    options = ["--context", context]
    return Kubectl(("kubectl", *options)), ThisMachine(), [*image_option(), *options, "--namespace", NAMESPACE]


def image_option() -> list[str]:
    return ["--image", os.environ["IMAGE"]] if os.environ.get("IMAGE") else []


def main() -> int:
    # A script's shell starts what it puts in the background with SIGINT ignored; so would be bridge, and its Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        context = os.environ.get("CONTEXT", "")
        tell(*(foreign_cluster(context) if context else local_cluster()))
    except NotAsTold as error:
        say(f"\nNot as told: {error}", RED)
        return 1
    except KeyboardInterrupt:
        say("\nThe story was ended; what it had changed is put back.", RED)
        return 130
    say(f"\nThat was the story: {time.monotonic() - BEGAN:.1f} s in all.", GREEN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
