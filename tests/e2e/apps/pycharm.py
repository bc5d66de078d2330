"""PyCharm, as far as its debugger can tell: it listens, starts the command, and speaks pydevd's protocol with it.

python pycharm.py FILE LINE COMMAND...     a word {port} of the command becomes where this listens
It tells in lines what happens: version, stopped FUNCTION, locals NAME=VALUE..., interrupting PID:NAME..., ended CODE.
A line on stdin is what the user presses: "resume" or "stop" (SIGINT to each process of the tree, as PyCharm does it).

The protocol: lines of COMMAND <tab> SEQUENCE <tab> PAYLOAD (pydevd's _pydevd_bundle/pydevd_comm.py).
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from urllib.parse import unquote

import psutil

RUN, SUSPENDED, RESUME, SET_BREAK, GET_FRAME, VERSION = 101, 105, 106, 111, 114, 501


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("r")
        self._sequence = 1

    def send(self, command: int, *payload: object) -> None:
        self._sequence += 2  # odd numbers are the IDE's
        text = "\t".join(map(str, payload))
        self._sock.sendall(f"{command}\t{self._sequence}\t{text}\n".encode())

    def wait_for(self, command: int) -> str:
        for line in self._file:
            kind, _, payload = line.rstrip("\n").split("\t", 2)
            if int(kind) == command:
                return unquote(unquote(payload))
        raise SystemExit(f"the debugger ended without {command}")


def tell(*words: object) -> None:
    print(*words, flush=True)


def debug(connection: Connection, file: str, line: str) -> None:
    connection.send(VERSION, "1.1", "UNIX", "LINE")
    tell("version", connection.wait_for(VERSION))
    connection.send(SET_BREAK, "python-line", file, line, "None", "ALL", "None", "None")
    connection.send(RUN)
    stopped = connection.wait_for(SUSPENDED)
    thread = re.search(r'<thread id="([^"]*)"', stopped)[1]
    frame, function = re.search(r'<frame id="([^"]*)" name="([^"]*)"', stopped).groups()
    tell("stopped", function)
    connection.send(GET_FRAME, thread, frame, "FRAME")
    variables = re.findall(r'<var name="([^"]*)" type="str".*?value="str: ([^"]*)"', connection.wait_for(GET_FRAME))
    tell("locals", *(f"{name}={value}" for name, value in variables))
    assert sys.stdin.readline() == "resume\n"
    connection.send(RESUME, "*")


def stop(process: subprocess.Popen[bytes]) -> None:
    root = psutil.Process(process.pid)
    tree = [*root.children(recursive=True), root]
    tell("interrupting", *(f"{each.pid}:{each.name()}" for each in tree))
    for each in tree:
        each.send_signal(signal.SIGINT)


def main() -> None:
    file, line, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        process = subprocess.Popen([port if word == "{port}" else word for word in command], stdin=subprocess.DEVNULL)
        try:
            sock, _ = server.accept()
            debug(Connection(sock), file, line)
            if sys.stdin.readline() == "stop\n":
                sock.shutdown(socket.SHUT_RDWR)
                stop(process)
            tell("ended", process.wait())
        finally:
            process.terminate()
            process.wait()


main()
