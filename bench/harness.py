"""What bench/compare and bench/compare_target share: children that are ended, waits, medians, system calls per I/O."""
import atexit
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.argv[0]).name
children = []


def spawn(command, log, **more):
    child = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **more)
    children.append(child)
    return child


def end(child):
    """Some peers do not always listen to SIGTERM: SIGKILL after a while."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    children.remove(child)


def wait_for(what, condition, limit=20):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{PROGRAM}: {what}: not within {limit} s")
        time.sleep(0.02)


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def work_folder():
    """A folder that is removed at the end, when the children are ended too. No core files from those."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = Path(tempfile.mkdtemp(prefix="mpath-bench."))

    @atexit.register
    def clean():
        for child in list(children):
            child.kill()
            child.wait()
        shutil.rmtree(work, ignore_errors=True)

    return work


def need_programs(binaries, *programs):
    for program in programs:
        if not (binaries / program).exists():
            sys.exit(f"{PROGRAM}: no {binaries / program}: cmake --preset release && cmake --build build/release")


def count_calls(pid, load):
    """System calls per I/O of a process while `load()` runs, which returns how many I/Os there were. Counted by strace:
    it slows everything down, but counts right. None without strace."""
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile() as table:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", table.name, "-p", str(pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        children.append(tracer)
        tracer.stderr.readline()  # "attached"
        time.sleep(0.3)
        ios = load()
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(10)
        except subprocess.TimeoutExpired:  # its process died under it
            tracer.kill()
            tracer.wait()
        children.remove(tracer)
        total = re.search(r"^\s*100\.\d+\s+\S+\s+\S*?\s+(\d+)\s.*total$", Path(table.name).read_text(), re.M)
        return int(total[1]) / ios if total else None


def figures(result):
    """What is kept of a load generator's JSON."""
    return {"iops": result["iops"], "p50_us": result["p50_us"], "p99_us": result["p99_us"],
            "cpu_us": result["server_cpu_us_per_io"], "errors": result["errors"]}


def median_of(rounds):
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
