"""Run in a pod: 13 PUTs of 20 MiB at once while 100 other connections are open; all must come back whole.

python3 storm.py HOST [SIZE_MIB] [PUTS] [OPEN]     prints "identical", or what differs
"""

import hashlib
import http.client
import os
import socket
import sys
import threading

HOST = sys.argv[1]
SIZE, PUTS, OPEN = (int(word) for word in (sys.argv[2:] + ["20", "13", "100"][len(sys.argv) - 2 :]))
problems: list[str] = []


def put() -> None:
    body = os.urandom(1 << 20) * SIZE
    connection = http.client.HTTPConnection(HOST, timeout=120)
    connection.request("PUT", "/", body)
    answer = connection.getresponse().read()
    connection.close()
    if hashlib.sha256(answer).digest() != hashlib.sha256(body).digest():
        problems.append(f"{len(answer)} bytes of {len(body)}")


def guarded() -> None:
    try:
        put()
    except Exception as error:  # noqa: BLE001  # told to the test, which then fails
        problems.append(repr(error))


idle = [socket.create_connection((HOST, 80), timeout=30) for _ in range(OPEN)]
threads = [threading.Thread(target=guarded) for _ in range(PUTS)]  # noqa: TID251  # a client of its own
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for number, connection in enumerate(idle):
    connection.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    answer = connection.makefile("rb").read()
    if b"laptop pid=" not in answer:
        problems.append(f"open connection {number}: {answer[:80]!r}")
print("; ".join(problems) or "identical")
