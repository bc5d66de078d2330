"""The process under test: an HTTP/1.1 server that tells about itself, echoes what is put, and fetches for its caller.

python server.py PORT [DELAY]      listens on 127.0.0.1:PORT, after DELAY seconds
GET /            a line that says "laptop" and the pid
GET /environ     the environment as JSON (latin-1, so that every byte has a character)
GET /fetch?URL   what URL answers, fetched from here
PUT /            the body, back again
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/environ":
            answer = json.dumps({k.decode("latin-1"): v.decode("latin-1") for k, v in os.environb.items()})
        elif path == "/fetch":
            with urllib.request.urlopen(query, timeout=10) as response:
                answer = response.read().decode()
        else:
            answer = f"laptop pid={os.getpid()}\n"
        self.reply(answer.encode())

    def do_PUT(self) -> None:
        self.reply(self.rfile.read(int(self.headers["Content-Length"])))

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def finish(self) -> None:
        """Answer what the kernel has accepted for us already: closing the listener would reset that."""
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection, address = self.socket.accept()
                connection.setblocking(True)
                self.process_request(connection, address)
        self.server_close()


def main() -> None:
    port, delay = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    threading.Event().wait(delay)
    server = Server(("127.0.0.1", port), Handler)
    # As a good server does: no more connections, what is open is answered.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())  # noqa: TID251
    print(f"serving pid={os.getpid()} port={port}", flush=True)
    try:
        server.serve_forever(poll_interval=0.05)
        server.finish()
        threading.Event().wait(0.2)
    except KeyboardInterrupt:
        sys.exit(130)


main()
