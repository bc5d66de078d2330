"""A server that tests edit while it runs: `EDIT` says which edit it is. It ends at once on SIGTERM, as most do."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EDIT = 0
THINKS = threading.Event()  # never set


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        THINKS.wait(0.01)  # so that there is always a request under way
        body = f"edit {EDIT}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(f"serving edit {EDIT}", flush=True)
server.serve_forever()
