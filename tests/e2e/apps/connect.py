"""stdin and stdout of this program are a connection to PORT of this machine, as soon as something listens there.

python connect.py PORT
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time


def connect(port: int, deadline: float) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.1)


def main() -> None:
    sock = connect(int(sys.argv[1]), time.monotonic() + 30)

    def upload() -> None:
        while data := os.read(0, 65536):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    threading.Thread(target=upload, daemon=True).start()  # noqa: TID251
    while data := sock.recv(65536):
        os.write(1, data)


main()
