"""Any history of sessions and of others on one target: at each moment, restoring gives what there was without sessions.

The model is the same object beside it, to which only the others' edits are done. Two sessions plan (from what they
read then), claim, take out, restore and die in any order; a claim may be written long after it was planned.
"""

import copy
import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.errors import TargetError
from bridge.plan.services import narrow_patch
from bridge.plan.undo import new_record, record_of, record_patch, restore_patch, swap_patch, true_replicas
from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from bridge.wire.undo import UndoRecord, replicas_of, widen_patch
from tests.unit.plan.server import Server, content
from tests.unit.plan.worlds import deployment, names, service

SESSIONS = ("ann", "bob")
sessions = st.sampled_from(SESSIONS)


class OnTheTarget(RuleBasedStateMachine):
    """``plans``: records, each with the session that it would replace."""

    plans: Bundle[tuple[UndoRecord, str | None]] = Bundle("plans")
    is_anew = False

    @initialize(replicas=st.none() | st.integers(0, 4))
    def there(self, replicas: int | None) -> None:
        self.server = Server(deployment(replicas=replicas))
        self.undisturbed = Server(deployment(replicas=replicas))

    @property
    def record(self) -> UndoRecord | None:
        return record_of(self.server.item)

    def is_held_by(self, session: str) -> bool:
        return self.record is not None and self.record.session == session

    # ---- sessions ----------------------------------------------------------------------------------------------------
    @rule(target=plans, session=sessions)
    def plan(self, session: str) -> tuple[UndoRecord, str | None]:
        there = self.record.session if self.record else None
        return new_record(self.server.read(), session=session, holder=session, since=""), there

    @rule(plan=plans)
    def claim(self, plan: tuple[UndoRecord, str | None]) -> None:
        record, replacing = plan
        there = self.record
        if record.uid != self.server.item["metadata"]["uid"]:
            return
        try:
            self.server.patch(record_patch(self.server.read(), record, replacing=replacing))
        except TargetError:
            assert there
            assert there.session not in (record.session, replacing)
        else:
            assert self.is_held_by(record.session)

    @rule(plan=plans, left=st.sampled_from([0, 1, None]))
    def take_out(self, plan: tuple[UndoRecord, str | None], left: int | None) -> None:
        held, true = self.is_held_by(plan[0].session), true_replicas(self.server.item)
        try:
            patch, record = swap_patch(self.server.read(), plan[0], left=left)
        except TargetError:
            assert not held
            return
        assert held
        self.server.patch(patch)
        assert self.record == record
        assert replicas_of(self.server.item) == (true if left is None else min(left, true))

    @rule(session=sessions)
    def restore(self, session: str) -> None:
        held = self.is_held_by(session)
        patch = restore_patch(self.server.read(), session)
        assert (patch is not None) == held
        self.server.patch(patch)
        assert not self.is_held_by(session)

    @precondition(lambda self: self.record and self.record.left == 0)
    @rule()
    def was_written_by_the_first_bridge(self) -> None:
        fields = json.loads(self.server.item["metadata"]["annotations"][UNDO_ANNOTATION]) | {"version": 1}
        for field in ("services", "left", "grace", "takeover"):
            fields.pop(field, None)
        self.server.annotate(UNDO_ANNOTATION, json.dumps(fields))

    # ---- others ------------------------------------------------------------------------------------------------------
    @rule(count=st.integers(0, 9))
    def scale(self, count: int) -> None:
        if self.record and self.record.swapped and count == self.record.left:
            return  # can't be told from what the session did
        self.server.scale(count)
        self.undisturbed.scale(count)

    @rule(word=names)
    def roll_out_and_annotate(self, word: str) -> None:
        for server in (self.server, self.undisturbed):
            server.set_image(word)
            server.annotate(word)

    @precondition(lambda self: not self.is_anew)
    @rule(replicas=st.integers(0, 4))
    def delete_and_make_anew(self, replicas: int) -> None:
        self.is_anew = True
        made = deployment(replicas=replicas)
        made["metadata"]["uid"] = "uid-anew"
        self.server, self.undisturbed = Server(made), Server(made)

    # ---- always ------------------------------------------------------------------------------------------------------
    @invariant()
    def the_true_count_is_known(self) -> None:
        assert true_replicas(self.server.item) == replicas_of(self.undisturbed.item)

    @invariant()
    def restoring_now_gives_what_there_was_without_sessions(self) -> None:
        server = Server(self.server.item)
        for session in SESSIONS:
            server.patch(restore_patch(server.read(), session))
        assert content(server.item) == content(self.undisturbed.item)


class OnAService(RuleBasedStateMachine):
    """The same for a Service, which others may have select anything at any time."""

    @initialize()
    def there(self) -> None:
        item = service(selector={"app": "web"})
        item["metadata"] |= {"uid": "uid-svc", "resourceVersion": "1"}
        self.server, self.selector = Server(item), {"app": "web"}

    @property
    def narrowed_to(self) -> str | None:
        session: str | None = self.server.item["spec"]["selector"].get(SESSION_LABEL)
        return session

    @rule(session=sessions, replacing=sessions | st.just(""))
    def narrow(self, session: str, replacing: str) -> None:
        before = self.narrowed_to
        try:
            patch = narrow_patch(self.server.read(), session, replacing=replacing)
        except TargetError:
            assert before not in (None, session, replacing)
            return
        assert (patch is None) == (before == session)
        self.server.patch(patch)
        assert self.narrowed_to == session

    @rule(session=sessions)
    def widen(self, session: str) -> None:
        before = copy.deepcopy(self.server.item["spec"])
        self.server.patch(widen_patch(self.server.read(), session))
        assert self.narrowed_to != session
        if before["selector"].get(SESSION_LABEL) != session:
            assert self.server.item["spec"] == before

    @rule(key=names, value=names)
    def select_more(self, key: str, value: str) -> None:
        self.selector[key] = value
        self.server.item["spec"]["selector"][key] = value
        self.server.changed()

    @precondition(lambda self: self.selector)
    @rule()
    def select_less(self) -> None:
        key = sorted(self.selector)[0]
        del self.selector[key]
        del self.server.item["spec"]["selector"][key]
        self.server.changed()

    @rule(key=names, value=names)
    def replace_all(self, key: str, value: str) -> None:
        self.selector = {key: value}
        self.server.item["spec"]["selector"] = {key: value}
        self.server.changed()

    @invariant()
    def only_our_key_is_ours(self) -> None:
        there = self.server.item["spec"]["selector"]
        assert {key: value for key, value in there.items() if key != SESSION_LABEL} == self.selector


OnTheTarget.TestCase.settings = settings(max_examples=300, deadline=None)
TestOnTheTarget = OnTheTarget.TestCase
TestOnAService = OnAService.TestCase
