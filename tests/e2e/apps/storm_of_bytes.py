"""Copies through the echo server at argv[1]:argv[2] without end; meanwhile asks it on new connections, one by one."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

ADDRESS = sys.argv[1], int(sys.argv[2])
COPIES = 4


def send(echo: socket.socket) -> None:
    while True:
        echo.sendall(b"x" * (1 << 18))


def take(echo: socket.socket) -> None:
    while echo.recv(1 << 18):
        pass


threads = ThreadPoolExecutor(2 * COPIES)
for copy in [socket.create_connection(ADDRESS) for _ in range(COPIES)]:
    threads.submit(send, copy)
    threads.submit(take, copy)
while True:
    with socket.create_connection(ADDRESS, 10) as asking:
        asking.sendall(b"hello")
        print("echoed", asking.makefile("rb").read(5).decode(), flush=True)
