"""What was started in a sandbox is ended, and started again; what has entered the sandbox goes on."""

from __future__ import annotations

PROGRAM = """
import json, os, sys, time
from bridge.laptop.enter import become
from bridge.laptop.process import namespace_of, processes_in
from bridge.laptop.sandbox import sandbox

def names(namespace):
    return sorted(" ".join(each.cmdline()[-1:]) for each in processes_in(namespace) if each.pid != box._init.pid)

def until(namespace, wanted):
    deadline = time.monotonic() + 20
    while (found := names(namespace)) != wanted:
        assert time.monotonic() < deadline, found
        os.sched_yield()

DAEMON = "(setsid sh -c 'trap : TERM; sleep 1001; sleep 1002' &) & exec sleep 1003"
with sandbox() as box:
    first = box.start(["sh", "-c", DAEMON], os.environb, "/")
    namespace = namespace_of(first.pid)
    entered = os.fork()
    if not entered:
        become(["sleep", "1004"], os.environb, box.way_in())
    apart = os.fork()
    if not apart:
        become(["unshare", "--user", "--map-root-user", "--net", "sleep", "1006"], os.environb, box.way_in())
    while open(f"/proc/{apart}/comm").read() != "sleep\\n":
        os.sched_yield()
    assert namespace_of(apart) != namespace
    until(namespace, sorted(["1001", "1003", "1004", "trap : TERM; sleep 1001; sleep 1002"]))
    killed = box.end_started(grace=0.3)
    ended = first.wait(1)
    left = names(namespace)
    box.start(["sleep", "1005"], os.environb, "/")
    until(namespace, ["1004", "1005"])
    box.end(grace=5)
    print(json.dumps({"killed": len(killed), "signal": ended.signal, "left": left, "at the end": names(namespace)}))
    os.waitpid(entered, 0)
    assert os.waitpid(apart, 0)[1] == 15
"""


def test_what_was_started_ends_alone_and_what_has_entered_at_the_end_wherever_it_went(laptop):
    told = laptop.told(PROGRAM)
    # The daemon's shell outlives SIGTERM, and begins its second sleep: both are killed.
    assert told == {"killed": 2, "signal": 15, "left": ["1004"], "at the end": []}


KILLED = """
import json, os, time
from bridge.cli.console import JsonLines
from bridge.laptop.enter import become
from bridge.laptop.process import namespace_of
from bridge.laptop.sandbox import sandbox
from bridge.session.answering import OwnProcess
from bridge.session.inbox import Inbox
from bridge.tunnel.loop import EventLoop

told, tell = os.pipe()
os.set_inheritable(tell, True)
with sandbox() as box:
    way_in = box.way_in()
    entered = os.fork()
    if not entered:
        become(["sleep", "1004"], os.environb, way_in)
    inbox, deaf = Inbox(), f"trap '' TERM; (sleep 1001 &); echo >&{tell}; while :; do sleep 0.1; done"
    with EventLoop() as loop:
        process = OwnProcess(["sh", "-c", deaf], box, loop, inbox, JsonLines())
        process.begin(os.environb)
        os.read(told, 1)
        while namespace_of(entered) != namespace_of(process.pid):
            os.sched_yield()
        began = time.monotonic()
        process.end()
        took, happened = time.monotonic() - began, inbox.get(began + 30)
    alive = os.waitpid(entered, os.WNOHANG) == (0, 0)
    print(json.dumps({"at once": took < 5, "code": happened.code, "who has entered goes on": alive}))
assert os.waitpid(entered, 0)[1] == 15
"""


def test_a_process_that_had_its_time_to_end_is_killed_at_once_and_nobody_else(laptop):
    assert laptop.told(KILLED) == {"at once": True, "code": 137, "who has entered goes on": True}
