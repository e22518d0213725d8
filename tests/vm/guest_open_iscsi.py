#!/usr/bin/env python3
"""Story: open-iscsi logs in with every combination of InitialR2T, ImmediateData, digests and CHAP; the session then has what
was asked for, and what is written through it is read back.

Run in the guest by `guest`, with IQN, GROUP1, DISK_LUN, CHAP_IN and CHAP_OUT in the environment. One process for all: a
fork costs a tenth of a second under emulation.
"""
import glob
import itertools
import mmap
import os
import subprocess
import sys
import time

IQN, PORTAL, LUN = os.environ["IQN"], os.environ["GROUP1"], os.environ["DISK_LUN"]
IN, OUT = os.environ["CHAP_IN"], os.environ["CHAP_OUT"]
TARGETS = {"none": IQN, "one-way": IQN + ".chap", "mutual": IQN + ".mutual"}
LARGE, SMALL = 1 << 20, 4096  # four first bursts, so that unsolicited and solicited data both occur; and one page
AUTH_FAILURE = 24             # iscsiadm's exit status
BOTH = {"None": "0", "CRC32C": "1", "No": "0", "Yes": "1"}
failures = 0


class Wrong(Exception):
    pass


def set_record(target, settings):
    """Sets these keys of the node record that discovery made."""
    path, = glob.glob(f"/etc/iscsi/nodes/{target}/{PORTAL},3260,*/default")
    with open(path) as file:
        lines = [line for line in file if line.split(" = ")[0] not in settings]
    end = next(number for number, line in enumerate(lines) if line.startswith("node.tpgt"))
    lines[end + 1:end + 1] = [f"{key} = {value}\n" for key, value in settings.items()]
    with open(path, "w") as file:
        file.writelines(lines)


def iscsiadm(target, what):
    done = subprocess.run(["iscsiadm", "-m", "node", "-T", target, "-p", PORTAL, what], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def until(limit, condition):
    """The value of condition() as soon as there is one; None when there is none in time."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    return None


def sessions():
    return glob.glob("/sys/class/iscsi_session/session*")


def value_of(path):
    with open(path) as file:
        return file.read().strip()


def disk():
    """The device node of the session's disk; None while there is none that can be used."""
    for path in glob.glob(f"/sys/class/iscsi_session/session*/device/target*/*:{LUN}/block/sd*"):
        node = "/dev/" + os.path.basename(path)
        try:
            if value_of(path + "/size") != "0" and os.path.exists(node):
                return node
        except FileNotFoundError:
            pass  # sysfs shows a disk's folder before its attributes
    return None


def write_and_compare(node, at):
    """A large and a small request at a place of its own, flushed; then what the target has is compared."""
    with mmap.mmap(-1, LARGE) as written, mmap.mmap(-1, LARGE) as back:  # pages, as O_DIRECT wants them
        written[:] = os.urandom(LARGE)
        file = os.open(node, os.O_RDWR | os.O_DIRECT)
        try:
            for size, place in ((LARGE, at), (SMALL, at + LARGE)):
                with memoryview(written) as source, memoryview(back) as sink, source[:size] as data, sink[:size] as answer:
                    if os.pwrite(file, data, place) != size:
                        raise Wrong("a short write")
                    os.fsync(file)
                    if os.preadv(file, [answer], place) != size:
                        raise Wrong("a short read")
                    if data != answer:
                        raise Wrong(f"{size} bytes at {place} are not what was written")
        finally:
            os.close(file)


def check(what, story):
    global failures
    begin = time.monotonic()
    try:
        story()
        print(f"ok    {what} ({(time.monotonic() - begin) * 1000:.0f} ms)", flush=True)
    except (Wrong, OSError) as error:
        failures += 1
        print(f"FAIL  {what}\n        {error}", flush=True)


def refused(target):
    status, said = iscsiadm(target, "--login")
    if status == 0 or sessions():
        raise Wrong("the session came up")
    return status, said


def wrong_secret():
    status, said = refused(TARGETS["one-way"])
    if status != AUTH_FAILURE:
        raise Wrong(f"exit {status}, not {AUTH_FAILURE}: {said}")


def login_write_logout(target, r2t, immediate, header, data, place):
    set_record(target, {"node.session.iscsi.InitialR2T": r2t, "node.session.iscsi.ImmediateData": immediate,
                        "node.conn[0].iscsi.HeaderDigest": header, "node.conn[0].iscsi.DataDigest": data})
    status, said = iscsiadm(target, "--login")
    if status != 0:
        raise Wrong(f"login: exit {status}: {said}")
    try:
        node = until(20, disk)
        if not node:
            raise Wrong("there is no disk")
        session, = sessions()
        connection, = glob.glob(f"{session}/device/connection*/iscsi_connection/*")
        has = [value_of(path) for path in (f"{session}/initial_r2t", f"{session}/immediate_data",
                                           f"{connection}/header_digest", f"{connection}/data_digest")]
        wanted = [BOTH[word] for word in (r2t, immediate, header, data)]
        if has != wanted:
            raise Wrong(f"InitialR2T, ImmediateData, HeaderDigest, DataDigest are {has}, asked for were {wanted}")
        write_and_compare(node, place)
    finally:
        status, said = iscsiadm(target, "--logout")
    if status != 0 or not until(20, lambda: not sessions()):
        raise Wrong(f"logout: exit {status}: {said}")


def main():
    chap = {"node.session.auth.authmethod": "CHAP", "node.session.auth.username": "guest", "node.session.auth.password": IN}
    set_record(TARGETS["one-way"], chap | {"node.session.auth.password": "wrong secret 1"})
    check("a wrong secret is refused", wrong_secret)
    mutual = chap | {"node.session.auth.username_in": "target", "node.session.auth.password_in": OUT}
    set_record(TARGETS["mutual"], mutual | {"node.session.auth.password_in": "wrong secret 2"})
    check("a target that cannot prove itself is left", lambda: refused(TARGETS["mutual"]))
    set_record(TARGETS["one-way"], chap)
    set_record(TARGETS["mutual"], mutual)
    digests = ("None", "CRC32C")
    for number, (kind, r2t, immediate, header, data) in enumerate(
            itertools.product(TARGETS, ("No", "Yes"), ("Yes", "No"), digests, digests)):
        check(f"CHAP {kind}, InitialR2T={r2t} ImmediateData={immediate} HeaderDigest={header} DataDigest={data}",
              lambda: login_write_logout(TARGETS[kind], r2t, immediate, header, data, number * (LARGE + SMALL)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
