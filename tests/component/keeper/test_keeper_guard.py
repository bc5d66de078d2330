"""The guard: it restores when the laptop is silent, and leaves alone what is not, or no longer, its session's."""

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from bridge.wire import messages
from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from bridge.wire.messages import Guard, GuardState
from tests.component.cluster.apiserver import status
from tests.component.proxy import free_ports, running_proxy

from .cluster import (
    LEASE,
    RECORD,
    ROOT,
    SERVICE,
    TARGET,
    TOKEN,
    Cluster,
    account,
    away,
    certificate,
    guarded_proxy,
    orders,
)

LONG = 600.0  # a grace time that no test sees the end of


def guard_of(control) -> Guard:
    """The guard's next word, after whatever else is said."""
    while not isinstance(message := control.hears(), Guard):
        assert message is not None, "the connection has ended"
    return message


@contextmanager
def beating(control):
    """A laptop that is there: it sends heartbeats until the block ends."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            control.say(messages.Ping(1))

    thread = threading.Thread(target=beat)  # noqa: TID251  # a peer
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_restored(cluster) -> bool:
    """Whether the target is as before the session, and nothing of that is left."""
    target, service = cluster.get(TARGET), cluster.get(SERVICE)
    return (
        target["spec"]["replicas"] == RECORD.replicas
        and UNDO_ANNOTATION not in target["metadata"].get("annotations", {})
        and service["spec"]["selector"] == {"app": "tasks"}
        and not cluster.is_there(ROOT)
        and not cluster.is_there(LEASE)
    )


# -- arming ------------------------------------------------------------------------------------------------------------
def test_it_is_armed_when_it_has_tried_its_rights_and_nothing_has_changed(control):
    cluster = Cluster()
    before = {path: cluster.get(path) for path in (TARGET, SERVICE, ROOT)}
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)
    tried = {(method, path.removesuffix("?dryRun=All")) for method, path in cluster.asked if "dryRun=All" in path}
    assert tried == {("PATCH", TARGET), ("PATCH", SERVICE), ("PATCH", LEASE), ("DELETE", LEASE), ("DELETE", ROOT)}
    assert before == {path: cluster.get(path) for path in before}


def test_a_session_without_target_is_guarded_too(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=1, lease=False, record=None)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
    assert {path for method, path in cluster.asked} == {ROOT, f"{ROOT}?dryRun=All"}


def test_rights_that_come_into_force_a_moment_later_are_waited_for(control):
    cluster = Cluster()
    refusals = iter(range(3))
    cluster.refuses = lambda method, path: next(refusals, None) is not None and status(403, "Forbidden", "not yet")
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)


def test_a_webhook_that_knows_no_dry_runs_does_not_keep_it_from_being_armed(control):
    cluster = Cluster()
    words = status(400, "BadRequest", 'admission webhook "x" does not support dry run')
    cluster.refuses = lambda method, path: (method, path) == ("PATCH", TARGET) and words
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)


def test_a_target_that_is_gone_does_not_keep_it_from_being_armed(control):
    cluster = Cluster()
    cluster.remove(TARGET)
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)


def test_what_keeps_it_from_being_armed_is_said(control):
    """Each takes ten seconds: so long may rights take to come into force."""
    cluster, strangers = Cluster(), Cluster()
    words = 'services "tasks" is forbidden: User "keeper" cannot patch resource "services"'
    cluster.refuses = lambda method, path: (method, path) == ("PATCH", SERVICE) and status(403, "Forbidden", words)
    (nobody,) = free_ports(1)
    with (
        guarded_proxy(cluster, orders(grace=1)) as forbidden,
        running_proxy(orders=orders().render(), **account(nobody)) as alone,
        guarded_proxy(strangers, orders(), authority=certificate("another cluster")) as deceived,
    ):
        one, two, three = control(forbidden), control(alone), control(deceived)
        assert guard_of(one) == Guard(GuardState.UNARMED, f"it may not patch service/tasks: {words} (403)")
        reason = "the API server can't be reached from the pod: Connection refused (a NetworkPolicy?)"
        assert guard_of(two) == Guard(GuardState.UNARMED, reason)
        assert "CERTIFICATE_VERIFY_FAILED" in guard_of(three).reason
        assert not strangers.asked  # so the token was not told either
        one.say(messages.Ping(1))  # long after the grace time: who has no rights does not pretend to restore
        while (message := one.hears()) != messages.Pong(1):
            assert not isinstance(message, Guard)


def test_without_an_account_it_says_so_and_is_no_process(control):
    with running_proxy(orders=orders().render()) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.UNARMED, "it was given no rights")
        assert proxy.guard_pid == 0


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"environ": {}}, "the container has no variable KUBERNETES_SERVICE_HOST, which says where the API server is"),
        ({"orders": '{"version": 3}'}, "its orders can't be read"),
    ],
)
def test_a_guard_that_cannot_begin_says_why_once(control, told, expected):
    with running_proxy(**{"orders": orders().render(), **account(1), **told}) as proxy:
        live = control(proxy)
        assert guard_of(live) == Guard(GuardState.UNARMED, expected)
        assert proxy.guard_pid


# -- watching ----------------------------------------------------------------------------------------------------------
def test_heartbeats_keep_it_from_restoring_and_show_on_the_lease(control):
    cluster, stamps = Cluster(), set()

    def was_renewed(times: int) -> bool:
        stamps.add(cluster.get(LEASE)["spec"].get("renewTime", ""))
        return len(stamps - {""}) >= times

    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        with beating(control(proxy)):
            cluster.wait_for(lambda: was_renewed(4))
        assert all(stamp.endswith(".000000Z") for stamp in stamps - {""})
        assert cluster.get(TARGET)["spec"]["replicas"] == 0
        cluster.wait_for(lambda: is_restored(cluster))


def test_a_lease_that_another_session_has_is_not_renewed_and_the_session_is_over(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        live = control(proxy)
        assert guard_of(live) == Guard(GuardState.ARMED)
    cluster.put(LEASE, {"labels": {SESSION_LABEL: "bobs"}}, {"holderIdentity": "bob@desk"})
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        live = control(proxy)
        while (guard := guard_of(live)).state is GuardState.ARMED:
            pass
        assert guard == Guard(GuardState.TAKEN, "deployment/tasks was taken by bob@desk")
        assert refusal_of_hello(control, proxy) == "taken: deployment/tasks was taken by bob@desk"
        live.say(messages.Ping(7))
        while (heard := live.hears()) != messages.Pong(7):
            assert heard is not None  # it is not sent away: it answers until the other does
    assert "renewTime" not in cluster.get(LEASE)["spec"]


def test_who_has_lost_the_target_restores_nothing_and_removes_what_is_its_own(control):
    cluster = Cluster()
    cluster.put(LEASE, {"labels": {SESSION_LABEL: "bobs"}}, {"holderIdentity": "bob@desk"})
    bobs = replace(RECORD, session="bobs", holder="bob@desk").render()
    cluster.put(TARGET, {"annotations": {UNDO_ANNOTATION: bobs}}, {"replicas": 0})
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.TAKEN, "deployment/tasks was taken by bob@desk")
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
    assert cluster.get(TARGET)["spec"]["replicas"] == 0
    assert cluster.get(TARGET)["metadata"]["annotations"] == {UNDO_ANNOTATION: bobs}
    assert cluster.get(SERVICE)["spec"]["selector"] == {"app": "tasks"}  # it was narrowed to our own pod still
    assert cluster.is_there(LEASE)


def test_a_guard_that_is_killed_is_started_anew(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        live = control(proxy)
        assert guard_of(live) == Guard(GuardState.ARMED)
        killed = proxy.guard_pid
        os.kill(killed, signal.SIGKILL)
        reason = "its process was killed by SIGKILL; another one is started"
        assert guard_of(live) == Guard(GuardState.UNARMED, reason)
        assert guard_of(live) == Guard(GuardState.ARMED)
        assert proxy.guard_pid not in (0, killed)
        assert "keeper: the guard was killed by SIGKILL; starting it again in 0.1 s" in proxy.log


def test_the_guard_has_nothing_of_the_containers_environment_and_the_log_no_token(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)
        environ = Path(f"/proc/{proxy.guard_pid}/environ").read_bytes()
        assert {line.partition(b"=")[0] for line in environ.split(b"\0") if line} == {
            b"KUBERNETES_SERVICE_HOST", b"KUBERNETES_SERVICE_PORT"
        }  # fmt: skip
        assert TOKEN not in proxy.log
        open_files = [file.path for file in psutil.Process(proxy.guard_pid).open_files()]
        assert {Path(path).name for path in open_files} <= {"log"}


# -- restoring ---------------------------------------------------------------------------------------------------------
def test_silence_restores_and_a_laptop_that_comes_back_is_told(control):
    cluster = Cluster()
    cluster.rolls_out = False
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        live = control(proxy)
        assert guard_of(live) == Guard(GuardState.ARMED)
        reason = "nothing was heard of the laptop for 1 s; deployment/tasks is being put back"
        assert guard_of(live) == Guard(GuardState.RESTORING, reason)
        assert refusal(live) == f"restoring: {reason}"
        cluster.wait_for(lambda: cluster.get(TARGET)["spec"]["replicas"] == RECORD.replicas)
        assert refusal_of_hello(control, proxy) == f"restoring: {reason}"
        cluster.wait_for(lambda: cluster.asked[-3:] == [("GET", TARGET)] * 3)  # it waits until the target is Ready
        assert cluster.get(SERVICE)["spec"]["selector"] == {"app": "tasks", SESSION_LABEL: "5e55101"}
        assert cluster.is_there(ROOT)
        cluster.roll_out()
        cluster.wait_for(lambda: is_restored(cluster))
        said = refusal_of_hello(control, proxy)
        assert said == "restored: nothing was heard of the laptop for 1 s; deployment/tasks is back, replicas: 3"
        assert said.startswith(messages.OVER_REASONS)


def test_it_restores_without_that_a_laptop_ever_came():
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=1)):
        cluster.wait_for(lambda: is_restored(cluster))


def test_it_goes_on_when_the_api_server_is_back(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        live = control(proxy)
        assert guard_of(live) == Guard(GuardState.ARMED)
        cluster.refuses = lambda method, path: away
        assert guard_of(live).state is GuardState.RESTORING
        tries = len(cluster.asked)
        cluster.wait_for(lambda: len(cluster.asked) > tries + 3)
        oops = status(500, "InternalError", "etcd is away")
        cluster.refuses = lambda method, path: (method, path) == ("PATCH", TARGET) and oops
        cluster.wait_for(lambda: cluster.asked[-4:].count(("PATCH", TARGET)) == 2)
        cluster.refuses = lambda method, path: None
        cluster.wait_for(lambda: is_restored(cluster))
        assert "putting deployment/tasks back: etcd is away (500); trying again" in proxy.log


def test_what_somebody_changes_at_the_same_moment_stays():
    """Between the guard's reading and its patch a deployment is scaled and gets another image: 409, and once more."""
    cluster, changes = Cluster(), iter([1])

    def change(method: str, path: str) -> None:
        if (method, path) == ("PATCH", TARGET) and "dryRun=All" not in cluster.asked[-1][1] and next(changes, None):
            spec = {"replicas": 5, "image": "tasks:2"}
            cluster.put(TARGET, {"annotations": {UNDO_ANNOTATION: RECORD.render(), "by": "bob"}}, spec)

    cluster.refuses = change
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
        assert "the object has been modified (409)" in proxy.log
    assert cluster.get(TARGET)["spec"] == {"replicas": 5, "image": "tasks:2"}
    assert cluster.get(TARGET)["metadata"]["annotations"] == {"by": "bob"}


def test_a_target_that_was_deleted_is_not_waited_for():
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        cluster.wait_for(lambda: "renewTime" in cluster.get(LEASE)["spec"])
        cluster.remove(TARGET)
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
        assert "deployment/tasks was deleted" in proxy.log
    assert cluster.get(SERVICE)["spec"]["selector"] == {"app": "tasks"}


def test_a_record_of_another_session_is_left_alone(control):
    cluster = Cluster()
    bobs = replace(RECORD, session="bobs", holder="bob@desk").render()
    with guarded_proxy(cluster, orders(grace=1, lease=False)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)
        cluster.put(TARGET, {"annotations": {UNDO_ANNOTATION: bobs}}, {"replicas": 0})
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
        assert "deployment/tasks was left alone: it is in the hands of bob@desk" in proxy.log
    assert cluster.get(TARGET)["metadata"]["annotations"] == {UNDO_ANNOTATION: bobs}
    assert cluster.get(TARGET)["spec"]["replicas"] == 0


def test_a_record_that_a_rollback_took_away_is_made_up_for(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        assert guard_of(control(proxy)) == Guard(GuardState.ARMED)
        cluster.put(TARGET, {"annotations": {"by": "kubectl rollout undo"}}, {"replicas": 0})
        cluster.wait_for(lambda: is_restored(cluster))


def test_a_record_that_a_rollback_took_away_is_made_up_for_where_there_is_nothing_else_of_the_session():
    cluster = Cluster()
    cluster.put(TARGET, {}, {"replicas": RECORD.left})
    record = replace(RECORD, services=())
    with guarded_proxy(cluster, orders(grace=1, lease=False, record=record)):
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
    assert cluster.get(TARGET)["spec"]["replicas"] == RECORD.replicas


def test_a_record_that_cannot_be_read_is_left_alone():
    cluster = Cluster()
    cluster.put(TARGET, {"annotations": {UNDO_ANNOTATION: '{"version": 99}'}}, {"replicas": 0})
    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        cluster.wait_for(lambda: not cluster.is_there(ROOT))
        assert "was left alone: its undo record can't be read" in proxy.log
    assert cluster.get(TARGET)["spec"]["replicas"] == 0


def test_a_guard_that_is_up_before_the_claim_waits_for_it(control):
    """The proxy pod is made while the target is claimed; where that takes longer, it is not over."""
    cluster = Cluster()
    cluster.put(SERVICE, {}, {"selector": {"app": "tasks"}})
    claimed = cluster.get(TARGET)
    cluster.put(TARGET, {}, {"replicas": RECORD.replicas})
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        laptop = control(proxy)
        cluster.wait_for(lambda: cluster.asked.count(("GET", TARGET)) > 1)
        cluster.put(TARGET, claimed["metadata"], claimed["spec"])
        assert guard_of(laptop).state is GuardState.ARMED
    assert not is_restored(cluster)


def test_a_guard_that_finds_the_target_put_back_does_the_rest_at_once(control):
    """That of before was killed in the middle of it, with the whole pod: the record is gone, its Service is narrow."""
    cluster = Cluster()
    cluster.put(TARGET, {}, {"replicas": 3})
    with guarded_proxy(cluster, orders(grace=LONG)) as proxy:
        assert guard_of(control(proxy)).state is GuardState.RESTORING
        cluster.wait_for(lambda: is_restored(cluster))


def test_a_session_that_goes_on_in_another_pod_is_not_ended():
    """A node that lost the network has a guard that hears nothing; the pod made in its place renews the Lease."""
    cluster = Cluster()

    def renew(seconds: int) -> None:
        labels = {SESSION_LABEL: "5e55101"}
        stamp = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        cluster.put(LEASE, {"labels": labels}, {"renewTime": stamp, "leaseDurationSeconds": 1})

    with guarded_proxy(cluster, orders(grace=1)) as proxy:
        cluster.wait_for(lambda: "renewTime" in cluster.get(LEASE)["spec"])
        renew(60)
        cluster.wait_for(lambda: cluster.asked[-3:] == [("GET", LEASE)] * 3)
        assert cluster.get(TARGET)["spec"]["replicas"] == 0
        assert "its Lease is renewed by somebody else; trying again" in proxy.log
        renew(-60)
        cluster.wait_for(lambda: is_restored(cluster))


# -- as before ---------------------------------------------------------------------------------------------------------
def test_a_laptop_of_version_1_hears_neither_of_the_guard_nor_of_an_end(control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=2)) as proxy:
        live = control(proxy, version=1)
        news = list(iter(live.hears, None))
        assert [type(each) for each in news] == [messages.Refused]
        assert news[0].reason.startswith("restoring: ")


def test_a_session_without_orders_has_no_guard_even_with_an_account(control):
    with running_proxy(**account(1)) as proxy:
        live = control(proxy)
        live.say(messages.Ping(1))
        assert live.hears() == messages.Pong(1)
        assert proxy.guard_pid == 0


def refusal(control) -> str:
    """Why the keeper ends the connection."""
    while not isinstance(message := control.hears(), messages.Refused):
        assert message is not None, "the connection has ended without a word"
    assert control.hears() is None
    return message.reason


def refusal_of_hello(control, proxy) -> str:
    """Why a laptop that comes is not let in."""
    stranger = control.stranger(proxy)
    stranger.say(messages.Hello(proxy.token))
    return refusal(stranger)
