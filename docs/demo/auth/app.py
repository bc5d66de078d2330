"""auth: may this request pass?  The gateway asks before it forwards anything (Envoy's ext_authz, over HTTP).

200 lets it pass, and the header X-User goes on to the service; anything else is the user's answer. So no
service behind the gateway needs to know how users prove who they are.
"""

import hmac
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER = os.environ.get("USER_NAME", "ann")
EXPECTED = f"Bearer {os.environ['USER_TOKEN']}"


class Auth(BaseHTTPRequestHandler):
    # HTTP/1.0, its default: one request a connection, so nothing is idle and to be closed at the end.

    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(200, "ready\n")
        elif self.is_known():
            self.answer(200, "", {"X-User": USER})
        else:
            self.answer(401, "who are you?\n", {"WWW-Authenticate": "Bearer"})

    do_POST = do_GET  # Envoy asks with the method, the path and the headers of the user's request

    def is_known(self) -> bool:
        # Takes as long for any wrong token, so its time says nothing about the right one.
        return hmac.compare_digest(self.headers.get("Authorization", ""), EXPECTED)

    def answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, code="-", _size="-") -> None:
        if int(code) != 200:
            print(f"{self.command} {self.path} {int(code)}", flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # the end waits for the answers being written


if __name__ == "__main__":
    with Server(("", int(os.environ.get("PORT", "8080"))), Auth) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        server.serve_forever()
