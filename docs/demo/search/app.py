"""search: which tasks hold a word?  GET /?q=word

It asks tasks for them over HTTP, as services do: so while tasks is swapped, the laptop answers search, too.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

TASKS_URL = os.environ.get("TASKS_URL", "http://tasks")


class Search(BaseHTTPRequestHandler):
    # HTTP/1.0, its default: one request a connection, so nothing is idle and to be closed at the end.

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/ready":
            return self.answer(200, "ready\n")
        word = parse_qs(url.query).get("q", [""])[0]
        try:
            return self.answer(200, "".join(f"{task}\n" for task in tasks() if word in task))
        except OSError as error:  # urllib's errors are OSErrors
            return self.answer(503, f"no answer from {TASKS_URL}: {error}\n")

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, code="-", _size="-") -> None:
        if self.path != "/ready":
            print(f"{self.command} {self.path} {int(code)}", flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # the end waits for the answers being written


def tasks() -> list[str]:
    with urlopen(f"{TASKS_URL}/list", timeout=5) as answer:
        return json.load(answer)


if __name__ == "__main__":
    with Server(("", int(os.environ.get("PORT", "8080"))), Search) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        server.serve_forever()
