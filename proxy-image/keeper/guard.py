"""The guard: the container's second process, the dead man's switch. It restores when the laptop is silent.

    arming      it tries its rights, until all are there                     -> ARMED, or UNARMED and why
    watching    it renews the Lease while heartbeats come                    -> TAKEN, when another session has it
    restoring   no heartbeat for the grace time: each step is tried for ever -> RESTORING
                    the target gets its replicas back, its record goes
                    it is rolled out (else nothing would answer)
                    its Services select it again
    removing    the Lease and the root Secret go, the rest follows           -> RESTORED, told before

Plain blocking code, apart from process 1 because it may wait for an API server for as long as that is away. Whatever
part of it was done before (by a guard that was killed, by the laptop, by ``bridge restore``) is found done.

Standard input is a socket to the keeper: each byte that comes is a heartbeat, its end is the guard's; what the guard is
about goes back as ``Guard`` messages. Standard output is the container's log.
"""

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from bridge.wire import messages
from bridge.wire.backoff import delays
from bridge.wire.lease import is_of
from bridge.wire.messages import GuardState
from bridge.wire.orders import Orders
from bridge.wire.undo import UndoRecord, as_read, is_rolled_out, replicas_of, widen_patch

from . import duty
from .api import Api, ApiError, Conflict, MissingRight, NotFound, Rejected, Unreachable
from .options import parse

T = TypeVar("T")

_ARMING_SECONDS = 10.0  # rights come into force some moments after they were given
_ARM_AGAIN = 30.0
_REACH_AGAIN = 5.0
_ROLL_OUT_SECONDS = 300.0
_LOOK_EVERY = 0.3
_DELETE_AGAIN = 30.0


class KeeperGone(Exception):
    """The keeper has ended, or wants another guard."""


class Elsewhere(Exception):
    """Somebody else keeps the session's Lease renewed."""


def main(arguments: list[str]) -> int:
    """Guard until the keeper ends. The options are those of the keeper's command line."""
    options = parse(arguments)
    post = Post(socket.socket(fileno=0))
    with contextlib.suppress(KeeperGone):
        try:
            with open(f"{options.settings}/orders") as file:  # noqa: PTH123  # pathlib takes 5 ms to import
                orders = Orders.parse(file.read())
            api = Api(os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]), options.guard)
        except KeyError as error:
            post.give_up(f"the container has no variable {error.args[0]}, which says where the API server is")
        except (OSError, ValueError):
            post.give_up("its orders can't be read")
        Guard(orders, api, post).run()
    return 0


class Post:
    """The guard's wait, and its word to the keeper."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard = time.monotonic()
        """When the latest heartbeat was taken; at first, when the guard began."""
        self._socket = sock

    def wait(self, seconds: float) -> None:
        """Wait so long, and take the heartbeats that come. Raise `KeeperGone`."""
        until = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                if not self._socket.recv(4096):
                    raise KeeperGone
            except TimeoutError:
                return
            except ConnectionError as error:
                raise KeeperGone from error
            self.heard = time.monotonic()

    def tell(self, state: GuardState, reason: str) -> None:
        """Tell the keeper what the guard is about."""
        self._socket.settimeout(None)
        try:
            self._socket.sendall(messages.render(messages.Guard(state, duty.shortened(reason))))
        except ConnectionError as error:
            raise KeeperGone from error

    def give_up(self, reason: str) -> None:
        """Say why there can be no guard, and wait for the end."""
        self.tell(GuardState.UNARMED, reason)
        while True:
            self.wait(3600)


class Guard:
    """See the module's docstring."""

    def __init__(self, orders: Orders, api: Api, post: Post) -> None:
        self._orders = orders
        self._api = api
        self._post = post
        self._told: tuple[GuardState, str] | None = None
        self._over = ""  # why there is nothing to wait for
        self._due = 0.0  # when there is something to do while watching
        self._renewed = ""  # the time that was written into the Lease last
        self._renewed_at = 0.0
        self._begin_arming()

    def run(self) -> None:
        """Watch, restore, remove, and wait for the end. Raise `KeeperGone`."""
        why = self._watch()
        self._api.be_patient()
        self._tell(GuardState.RESTORING, duty.restoring(self._orders, why))
        done = self._restore()
        self._tell(GuardState.RESTORED, duty.restored(self._orders, why, done))
        self._remove()

    # -- watching ------------------------------------------------------------------------------------------------------
    @property
    def _state(self) -> GuardState | None:
        return self._told[0] if self._told else None

    def _watch(self) -> str:
        """Return when it is time to restore, and why it is."""
        while not self._over:
            self._post.wait(0)
            now = time.monotonic()
            if now >= self._due:
                self._due = now + self._do_what_is_due()
                continue
            deadline = self._post.heard + self._orders.grace
            armed = self._state in (GuardState.ARMED, GuardState.TAKEN)
            if armed and now >= deadline:
                return duty.silent(self._orders)
            self._post.wait(min(self._due, deadline if armed else self._due) - now)
        return self._over

    def _do_what_is_due(self) -> float:
        """Do it; return after how many seconds there is something to do again."""
        if self._state is GuardState.ARMED:
            return self._renew()
        if self._state is GuardState.TAKEN:
            return _ARM_AGAIN
        return self._arm()

    # -- arming --------------------------------------------------------------------------------------------------------
    def _begin_arming(self) -> None:
        self._arming_since = time.monotonic()
        self._pauses = delays(longest=2.0, jitter=random.random)

    def _arm(self) -> float:
        """Try the rights, and look whether there is something to guard still."""
        try:
            self._try_rights()
            self._look_at_target()
        except Unreachable as error:
            return self._not_armed(duty.unreachable(str(error)), _REACH_AGAIN)
        except ApiError as error:
            return self._not_armed(str(error), _ARM_AGAIN)
        if self._state is not GuardState.TAKEN and not self._over:
            self._tell(GuardState.ARMED, "")
        return 0

    def _not_armed(self, reason: str, again: float) -> float:
        if self._is_early():
            return next(self._pauses)
        self._tell(GuardState.UNARMED, reason)
        return again

    def _is_early(self) -> bool:
        return self._told is None and time.monotonic() - self._arming_since < _ARMING_SECONDS

    def _try_rights(self) -> None:
        """Raise ApiError for the first right that is missing, with what is missing as its text."""
        for right in duty.rights(self._orders):
            try:
                self._try(right)
            except MissingRight as error:
                raise MissingRight(duty.missing(right, str(error))) from error
            except (NotFound, Conflict, Rejected):
                continue  # it may: the right is looked at before the object, and before webhooks, which refuse dry runs

    def _try(self, right: duty.Right) -> None:
        match right.verb:
            case "get":
                self._api.get(right.path)
            case "patch":
                self._api.patch(right.path, {}, dry_run=True)
            case "delete":
                self._api.delete(right.path, dry_run=True)

    def _look_at_target(self) -> None:
        record = self._orders.record
        if record is None:
            return
        try:
            workload = self._api.get(record.path)
        except NotFound:
            return
        match duty.standing(workload, record):
            case duty.Standing.NOBODYS if self._is_early() and not self._is_narrowed(record):
                raise NotFound("the target is not claimed yet")  # this pod is made at the same time
            case duty.Standing.NOBODYS:
                self._over = duty.over(self._orders)
            case duty.Standing.ANOTHERS:
                self._tell(GuardState.TAKEN, duty.taken(self._orders, duty.holder_on(workload)))

    # -- renewing ------------------------------------------------------------------------------------------------------
    def _renew(self) -> float:
        """Show on the Lease that the laptop is there, if it is."""
        every = duty.renew_every(self._orders.grace)
        if self._orders.lease and (not self._renewed or self._post.heard > self._renewed_at):
            try:
                self._write_on_lease()
            except MissingRight:
                self._told = None  # it was given, and taken away again
                self._begin_arming()
                return 0
            except ApiError:
                return every  # it is gone, or next time will do
        return every

    def _write_on_lease(self) -> None:
        orders, at = self._orders, time.monotonic()
        lease = self._api.get(duty.lease_path(orders))
        match duty.on_lease(lease, orders.session, self._api.now):
            case duty.Taken(holder):
                self._tell(GuardState.TAKEN, duty.taken(orders, holder))
            case duty.Renewal(patch, stamp):
                self._api.patch(duty.lease_path(orders), patch)
                self._renewed, self._renewed_at = stamp, at

    # -- restoring -----------------------------------------------------------------------------------------------------
    def _restore(self) -> str:
        """Undo what the session has changed; return what became of the target."""
        record = self._orders.record
        if self._orders.lease:
            self._insist("looking who has the session", self._check_nobody_else_has_it)
        if record is None:
            return ""
        done = self._insist(f"putting {record.target} back", partial(self._put_back, record))
        if done and done.wait:
            self._wait_until_rolled_out(record)
        for name in record.services:
            self._insist(f"widening service/{name}", partial(self._widen, record.service_path(name)))
        return done.done if done else "was deleted"

    def _check_nobody_else_has_it(self) -> None:
        try:
            lease = self._api.get(duty.lease_path(self._orders))
        except MissingRight:
            return  # the record on the target tells, too
        if duty.lives_elsewhere(lease, self._orders.session, renewed=self._renewed, now=self._api.now):
            raise Elsewhere("its Lease is renewed by somebody else")

    def _put_back(self, record: UndoRecord) -> duty.PutBack:
        decision = duty.put_back(self._api.get(record.path), record, ended=self._is_ended(record))
        if decision.patch is not None:
            self._api.patch(record.path, decision.patch)
        return decision

    def _is_ended(self, record: UndoRecord) -> bool:
        """Look whether nothing beside the record speaks for the session. Where nothing could, it goes on."""
        paths = [duty.lease_path(self._orders)] if self._orders.lease else []
        paths += map(record.service_path, record.services)
        return bool(paths) and not any(map(self._speaks_for_us, paths))

    def _is_narrowed(self, record: UndoRecord) -> bool:
        return any(map(self._speaks_for_us, map(record.service_path, record.services)))

    def _speaks_for_us(self, path: str) -> bool:
        try:
            return duty.speaks_for(self._api.get(path), self._orders.session)
        except (NotFound, MissingRight):
            return False

    def _wait_until_rolled_out(self, record: UndoRecord) -> None:
        """Return when the target is Ready; after some minutes go on without."""
        until = time.monotonic() + _ROLL_OUT_SECONDS
        while time.monotonic() < until:
            if self._is_rolled_out(record):
                return
            self._post.wait(_LOOK_EVERY)
        self._log("the target is not Ready after all this time; going on without")

    def _is_rolled_out(self, record: UndoRecord) -> bool:
        try:
            workload = self._api.get(record.path)
        except NotFound:
            return True  # there is nothing to wait for
        except ApiError:
            return False  # can't tell now
        return is_rolled_out(workload, replicas_of(workload))

    def _widen(self, path: str) -> None:
        patch = widen_patch(self._api.get(path), self._orders.session)
        if patch is not None:
            self._api.patch(path, patch)

    # -- removing ------------------------------------------------------------------------------------------------------
    def _remove(self) -> None:
        """Remove the session's objects; this pod goes with them. Raise `KeeperGone`."""
        if self._orders.lease:
            self._insist(f"removing lease/{self._orders.lease}", self._give_lease_back)
        while True:
            self._insist("removing the session's objects", self._remove_root)
            self._post.wait(_DELETE_AGAIN)

    def _give_lease_back(self) -> None:
        path = duty.lease_path(self._orders)
        with contextlib.suppress(MissingRight):  # then it goes with the root
            lease = self._api.get(path)
            if is_of(lease, self._orders.session):
                self._api.delete(path, {"preconditions": as_read(lease)})

    def _remove_root(self) -> None:
        self._api.delete(duty.root_path(self._orders), {"propagationPolicy": "Background"})

    # -- words ---------------------------------------------------------------------------------------------------------
    def _insist(self, what: str, step: Callable[[], T]) -> T | None:
        """Do it, trying until it is done; None where its object is gone."""
        said = ""
        for pause in delays(jitter=random.random):
            try:
                return step()
            except NotFound:
                return None
            except (ApiError, Elsewhere) as error:
                if str(error) != said:
                    said = str(error)
                    self._log(f"{what}: {said}; trying again")
            self._post.wait(pause)
        raise AssertionError("delays do not end")

    def _tell(self, state: GuardState, reason: str) -> None:
        """Tell the keeper. Who has lost the target to another session has not restored it."""
        if self._told == (state, reason):
            return
        self._log(f"{state.value}{f': {reason}' if reason else ''}")
        if self._state is not GuardState.TAKEN:
            self._told = (state, reason)
            self._post.tell(state, reason)

    def _log(self, text: str) -> None:
        print(f"keeper: guard: {text}", flush=True)
