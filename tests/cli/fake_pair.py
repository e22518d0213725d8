#!/usr/bin/env python3
"""A control socket that answers about a pair, for tests of what mptargetctl makes of the answers.

    fake_pair.py SOCKET STATUS HEARD     cluster.status is the content of the file STATUS, read each time; every other
                                         verb is written to the file HEARD with its arguments, and answered with {}
    fake_pair.py --type WORD COMMAND...  runs COMMAND on a terminal of its own, types WORD ("^C": the key) when it has
                                         printed something, prints what it printed, and ends as it ended
"""
import json
import os
import pty
import socket
import sys
import time


def serve(path, status, heard):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as lines:
            for line in lines:
                request = json.loads(line)
                if request["verb"] == "cluster.status":
                    with open(status) as file:
                        result = {"status": json.load(file)}
                elif request["verb"] == "cluster.log":
                    result = {"decisions": []}
                else:
                    result = {}
                    with open(heard, "a") as file:
                        file.write(request["verb"] + " " + json.dumps(request["args"], sort_keys=True) + "\n")
                lines.write(json.dumps({"v": 1, "ok": True, "result": result}) + "\n")
                lines.flush()


def type_at(word, command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    shown = b""
    typed = False
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            break
        shown += piece
        if not typed:
            typed = True
            os.write(terminal, b"\x03" if word == "^C" else word.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    sys.stdout.buffer.write(shown)
    return os.waitstatus_to_exitcode(status)


if sys.argv[1] == "--type":
    sys.exit(type_at(sys.argv[2], sys.argv[3:]))
serve(*sys.argv[1:])
