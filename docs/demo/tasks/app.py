"""tasks: says hello, how long it is up, who serves it, and which tasks are in the database.

    GET  /       one line, for people
    POST /       adds the task that is in the body
    GET  /list   all tasks as JSON, for other services
    GET  /ready  for the kubelet

Nothing but the standard library, and every setting from the environment: so the same file runs in the pod
and on a laptop. With --reload it starts itself again when it is edited:

    bridge run --swap tasks python docs/demo/tasks/app.py --reload
"""

import configparser
import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from database import Database, DatabaseError

GREETING = "hello tasks"  # <- edit me

STARTED = time.monotonic()
SETTINGS_FILE = Path(os.environ.get("SETTINGS_FILE", "/etc/tasks/tasks.ini"))


class Tasks(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive: the gateway uses its connections again
    wbufsize = -1  # the headers and the body leave in one packet

    server: "Server"

    def do_GET(self) -> None:
        match self.path:
            case "/ready":
                self.answer(200, "ready\n")
            case "/list":
                self.answer_from_database(lambda: json.dumps(self.server.tasks()) + "\n")
            case _:
                self.answer_from_database(self.server.hello)

    def do_POST(self) -> None:
        task = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode().strip()
        self.answer_from_database(lambda: self.server.add(task))

    def answer_from_database(self, text) -> None:
        try:
            self.answer(200, text())
        except (DatabaseError, OSError) as error:
            self.answer(503, f"no database: {error}\n")

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.stopping:
            self.send_header("Connection", "close")  # tells the gateway to use another connection next time
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", _size="-") -> None:
        if self.path != "/ready":  # the kubelet asks every second
            user = self.headers.get("X-User", "nobody")
            print(f"{self.command} {self.path} {int(code)} for {user}", flush=True)


class Server(ThreadingHTTPServer):
    """One thread a connection. `stop` ends them without cutting an answer short."""

    daemon_threads = False  # server_close() waits for them

    def __init__(self, port: int, database: Database, shown: int) -> None:
        self.database = database
        self.shown = shown
        self.stopping = False
        self.connections: set[socket.socket] = set()
        super().__init__(("", port), Tasks)

    def tasks(self) -> list[str]:
        return self.database.ask("LRANGE", "tasks", "0", "-1")

    def add(self, task: str) -> str:
        return f"{self.database.ask('RPUSH', 'tasks', task)} tasks\n"

    def hello(self) -> str:
        tasks = self.tasks()
        newest = ", ".join(tasks[-self.shown :])
        served_by = f"{socket.gethostname()} ({os.environ.get('TRACK', 'no track')})"
        up = f"up {time.monotonic() - STARTED:.0f} s"
        return f"{GREETING} | {up} | from {served_by} | {len(tasks)} tasks: {newest}\n"

    def process_request(self, request, client_address) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        """Accept no more, answer what was asked, close."""
        self.stopping = True
        self.shutdown()
        for connection in list(self.connections):
            # An idle connection now reads its end; one with a request still writes its answer.
            with contextlib.suppress(OSError):  # the other side closed it meanwhile
                connection.shutdown(socket.SHUT_RD)
        self.server_close()


def tasks_shown() -> int:
    """How many tasks the greeting names: from the configuration file, which a ConfigMap mounts in the pod."""
    settings = configparser.ConfigParser()
    if not settings.read(SETTINGS_FILE):
        print(f"no {SETTINGS_FILE} here: using the defaults", flush=True)
    return settings.getint("answer", "shown", fallback=3)


def main() -> None:
    database = Database(
        host=os.environ.get("DB_HOST", "localhost"),
        port=int(os.environ.get("DB_PORT", "6379")),
        password=os.environ["DB_PASSWORD"],
    )
    server = Server(int(os.environ.get("PORT", "8080")), database, tasks_shown())
    threading.Thread(target=server.serve_forever).start()
    print(f"{GREETING}: on port {server.server_port}, tasks from {database.host}", flush=True)

    # Not an Event: a second signal, while the first one's handler is in set(), would wait for that for ever.
    stop: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stop.put(received))
    edited = wait_for_edit(stop) if "--reload" in sys.argv else not stop.get()
    server.stop()
    if edited:
        print("edited: starting again", flush=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def wait_for_edit(stop: queue.SimpleQueue[int]) -> bool:
    """Wait until this file is written, and rests (true), or the process is told to stop (false)."""
    source = Path(__file__)
    first = last = source.stat().st_mtime_ns
    while not is_told(stop, within=0.1):
        now = source.stat().st_mtime_ns
        if now == last != first:  # an editor may write it in two steps
            return True
        last = now
    return False


def is_told(stop: queue.SimpleQueue[int], within: float) -> bool:
    """Wait for a signal for `within` seconds; tell whether one came."""
    try:
        stop.get(timeout=within)
    except queue.Empty:
        return False
    return True


if __name__ == "__main__":
    main()
