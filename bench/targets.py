"""What bench/compare_target and bench/compare_replication share: targets on loopback, and the load on them."""
import json
import shutil
import socket
import subprocess
import sys

from harness import PROGRAM, end, run, spawn, wait_for

IQN = "iqn.2026-11.example.bench"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Contender:
    """Listens on 127.0.0.1:port with target `iqn` and logical unit `lun` between start() and stop()."""
    lun = 0

    def __init__(self, work, file):
        self.work, self.file = work, file

    def start(self):
        self.port = free_port()
        self.log = self.work / f"{self.program}.log"
        self.launch()
        wait_for(self.name, lambda: self.child.poll() is not None or answers(self.port))
        if self.child.poll() is not None:
            sys.exit(f"{PROGRAM}: {self.name} does not start:\n{self.log.read_text()}")
        return self

    def stop(self):
        end(self.child)


class Mptargetd(Contender):
    name = program = "mptargetd"
    iqn = f"{IQN}:mptargetd"

    def __init__(self, work, file, binaries, unit=None, name=None):
        super().__init__(work, file)
        self.binaries, self.unit = binaries, unit or f"path {file}"
        self.name = name or self.name

    def launch(self):
        root = self.work / "mptargetd.root"
        shutil.rmtree(root, ignore_errors=True)
        (root / "etc/mptarget").mkdir(parents=True)
        (root / "etc/mptarget/mptarget.conf").write_text(
            f"portal_group 1 {{\n  portal 127.0.0.1:{self.port}\n}}\nlu disk {{\n  {self.unit}\n}}\n"
            f"target {self.iqn} {{\n  lun 0 disk\n}}\n")
        self.child = spawn([self.binaries / "mptargetd", "--root", root], self.log)


def load(contender, binaries, op, size, depth, *more):
    command = [binaries / "iscsi_bench", "--portal", f"127.0.0.1:{contender.port}", "--target", contender.iqn, "--lun",
               str(contender.lun), "--op", op, "--size", size, "--depth", str(depth), "--json", *more]
    return json.loads(run(*command))


def serves(contender, binaries):
    try:
        return load(contender, binaries, "read", "4k", 1, "--ios", "1")["errors"] == 0
    except subprocess.CalledProcessError:
        return False
