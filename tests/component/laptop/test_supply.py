"""The sockets that init makes ahead of need: what is under way counts for all of a user's programs together."""

from __future__ import annotations

from tests.component.laptop.conftest import USER

ALONE = USER + 1  # whose descriptors under way are those of this test

CROWDED = """
import asyncio, json, os, resource, socket
from bridge.laptop import messages
from bridge.laptop.sandbox import sandbox

OPEN = 512  # init's limit

def limit(number):
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

limit(OPEN)
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for each in here, there:
    each.setblocking(False)

def crowd():
    limit(2 * OPEN)
    while True:
        try:
            messages.send(here, {"crowd": True}, [here.fileno()] * 253)
        except OSError:
            return

def take_away():
    while True:
        try:
            for each in messages.receive(there)[1]:
                os.close(each)
        except BlockingIOError:
            return

async def all_there_are(supply):
    taken = []
    while True:
        try:
            async with asyncio.timeout(1):
                taken.append(await supply.take())
        except TimeoutError:
            return taken

async def main(box):
    taken = await all_there_are(box._supply)
    take_away()
    async with asyncio.timeout(20):
        taken += [await box._supply.take() for _ in range(100)]
    for each in taken:
        each.close()
    return len(taken) - 100

with sandbox() as box:
    box.ready()
    box.start(["true"], os.environb, "/").wait(20)  # it serves, so it has handed out
    crowd()
    ahead = asyncio.run(main(box))
    print(json.dumps({"ahead": ahead, "ended": box.start(["true"], os.environb, "/").wait(20).code}))
"""


def test_init_hands_out_again_when_the_user_has_not_too_many_descriptors_under_way_any_more(laptop):
    told = laptop.told(CROWDED, uid=ALONE, cwd="/")
    assert told["ended"] == 0
    assert 0 < told["ahead"] <= 16  # so that sixty sessions have room in the usual 1024
