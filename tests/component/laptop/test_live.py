"""The pod's volumes live: over SFTP, from a real sftp-server, by the real sshfs, without root."""

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bridge.laptop.process import namespace_of
from tests.component.laptop.conftest import in_sandbox

# /dev/fuse is everybody's on a developer's machine; on one without udev it may be root's.
OPEN_FUSE = """
set -e
[ ! -w /dev/fuse ] || { mount -t tmpfs tmpfs /mnt; mknod -m 666 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse; }
exec "$@"
"""


@pytest.fixture
def pod(laptop):
    """A folder of the pod's, which is the volume."""
    folder = laptop.home / "pod"
    (folder / "..2026").mkdir(parents=True)
    (folder / "..2026/app.yaml").write_text("color: blue\n")
    (folder / "..data").symlink_to("..2026")
    (folder / "app.yaml").symlink_to("..data/app.yaml")
    if os.geteuid() == 0:
        for each in (folder, *folder.rglob("*")):
            os.chown(each, laptop.uid, laptop.uid, follow_symlinks=False)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@contextlib.contextmanager
def running(laptop, pod, script: str, *options: str, mode: str = ""):
    """A shell script in a sandbox with the pod's folder live at /bridge-test/data; gives bridge's Popen."""
    argv = laptop.argv("sh", "-c", script, options=("--live", f"/bridge-test/data={pod}{mode}", *options))
    if os.geteuid() == 0:
        argv = ["unshare", "--mount", "sh", "-c", OPEN_FUSE, "sh", *argv]
    elif not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse is not this user's to open")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(argv, cwd=laptop.home, env=laptop.environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()
    assert not Path("/bridge-test").exists()


def run(laptop, pod, script: str, *options: str, mode: str = "") -> tuple[list[str], str]:
    """Lines of the script's stdout, and its stderr."""
    with running(laptop, pod, script, *options, mode=mode) as process:
        out, err = process.communicate(timeout=30)
    return out.splitlines(), err


def sshfs_of(init: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(init), "sshfs"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def test_a_volume_is_read_and_written_in_the_pod(laptop, pod):
    script = """
      cd /bridge-test/data; cat app.yaml; readlink ..data; stat -c %u:%g .
      echo 1 > new; mkdir -p a/b; mv new a/b/moved; ln -s a/b/moved link; cat link; rm app.yaml; chmod 600 a/b/moved
      head -c 3000000 /dev/zero | tee zeros | cksum; cksum < zeros
    """
    out, err = run(laptop, pod, script)
    assert out[:4] == ["color: blue", "..2026", f"{laptop.uid}:{laptop.uid}", "1"], err
    assert out[4] == out[5]
    assert sorted(each.name for each in pod.iterdir()) == ["..2026", "..data", "a", "link", "zeros"]
    assert (pod / "a/b/moved").read_text() == "1\n"
    assert (pod / "a/b/moved").stat().st_mode & 0o777 == 0o600
    assert (pod / "zeros").stat().st_size == 3_000_000


def test_a_python_program_maps_and_locks_a_file(laptop, pod):
    program = """
import fcntl, mmap, os
with open("/bridge-test/data/mapped", "w+b") as file:
    file.truncate(8192)
    fcntl.flock(file, fcntl.LOCK_EX)
    with mmap.mmap(file.fileno(), 0) as memory:
        memory[5000:5003] = b"abc"
print(sorted(os.listdir("/bridge-test/data")))
"""
    out, err = run(laptop, pod, f"exec {laptop.interpreter} -I -c '{program}'".replace("'/", '"/'))
    assert out == ["['..2026', '..data', 'app.yaml', 'mapped']"], err
    assert (pod / "mapped").read_bytes()[4999:5004] == b"\0abc\0"


def test_a_read_only_volume_is_read_only(laptop, pod):
    out, err = run(laptop, pod, "cat /bridge-test/data/app.yaml; touch /bridge-test/data/new", mode=":ro")
    assert out == ["color: blue"]
    assert "Read-only file system" in err


def test_what_others_write_in_the_pod_is_seen(laptop, pod):
    script = "cd /bridge-test/data; ls; read go; while ! grep -q red app.yaml; do sleep 0.1; done; ls"
    with running(laptop, pod, script) as process:
        assert process.stdout.readline() == "app.yaml\n"
        (pod / "..2027").mkdir()
        (pod / "..2027/app.yaml").write_text("color: red\n")
        (pod / "new").symlink_to("..2027")
        (pod / "new").rename(pod / "..data")
        out, _ = process.communicate("go\n", timeout=20)
    assert out == "app.yaml\n"


def test_what_the_process_writes_while_it_ends_gets_through(laptop, pod):
    script = (
        "trap 'sleep 0.3; echo saved > /bridge-test/data/last; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    )
    with running(laptop, pod, script) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 3
    assert (pod / "last").read_text() == "saved\n"


def test_the_next_tunnel_takes_over(laptop, pod):
    """Meanwhile nothing that is written lands on the laptop, and mounts don't pile up."""
    script = """
      cd /; exec 3>>/bridge-test/data/log; echo $(stat -c %d /bridge-test/data) $(wc -l </proc/self/mountinfo); read go
      until [ "$(stat -c %d /bridge-test/data)" != $go ] && [ -e /bridge-test/data/app.yaml ]; do
        echo 1 >/bridge-test/data/x  # in between, into the empty folder
      done
      cat /bridge-test/data/app.yaml; wc -l </proc/self/mountinfo
      echo lost >&3 || exec 3>>/bridge-test/data/log; echo kept >&3
    """
    with running(laptop, pod, script) as process:
        device, mounts = process.stdout.readline().split()
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(f"{device}\n", timeout=20)
    assert out.splitlines() == ["color: blue", mounts], err
    assert (pod / "log").read_text() == "kept\n"


def test_volumes_in_a_live_one_come_again_with_the_next_tunnel(laptop, pod, store):
    """One whose place is there in the pod, and one for which it has to be made: in the pod, as a kubelet does."""
    binds = [f"--bind=/bridge-test/data/{name}=secret:ro" for name in ("..2026", "made/for/it")]
    script = """
      look() {
        echo $(cat /bridge-test/data/..2026/token /bridge-test/data/made/for/it/token; wc -l </proc/self/mountinfo)
      }
      exec 3</bridge-test/data  # the former mount, which is then another device than the next
      former=$(stat -c %d /bridge-test/data); look; read go
      while [ "$(stat -c %d /bridge-test/data)" = $former ]; do sleep 0.05; done
      until look | grep -q s3cret.s3cret; do sleep 0.05; done; look
    """
    with running(laptop, pod, script, "--store", str(store), *binds) as process:
        before = process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate("go\n", timeout=20)
    assert before.startswith("s3cret s3cret "), err
    assert out == before
    assert [each.name for each in (pod / "made/for").iterdir()] == ["it"]


def started(process) -> tuple[int, int]:
    """init, and the namespace, of a script that says its pid."""
    pid = int(process.stdout.readline())
    return int(Path(f"/proc/{pid}/stat").read_text().split()[3]), namespace_of(pid)


def gone(namespace: int, within: float = 20.0) -> bool:
    deadline = time.monotonic() + within
    while in_sandbox(namespace):
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.05)
    return True


@pytest.mark.parametrize("who", ["bridge", "init", "sshfs"])
def test_whoever_is_killed_nothing_is_left(laptop, pod, who):
    with running(laptop, pod, "echo $$; cat /bridge-test/data/app.yaml; read end") as process:
        init, namespace = started(process)
        assert process.stdout.readline() == "color: blue\n"
        (sshfs,) = sshfs_of(init)
        os.kill({"bridge": process.pid, "init": init, "sshfs": sshfs}[who], signal.SIGKILL)
        if who == "sshfs":
            while Path(f"/proc/{sshfs}").exists():  # no zombie stays
                select.select([], [], [], 0.02)
            process.stdin.close()
            assert process.wait(20) == 1
        assert gone(namespace)


def test_a_pod_that_does_not_answer_does_not_hold_up_the_end(laptop, pod):
    """The process can't even be killed while it closes a file there: what it wrote is on its way."""
    program = """
import os, signal, subprocess
file = os.open("/bridge-test/data/file", os.O_WRONLY | os.O_CREAT)
bridge = subprocess.check_output(["ps", "-o", "ppid=", "-p", str(os.getppid())], text=True).strip()
subprocess.check_call(["pkill", "-STOP", "-P", bridge, "sftp-server"])
os.write(file, b"1")
print(os.getpid(), flush=True)
signal.pause()
"""
    with running(laptop, pod, f"exec {laptop.interpreter} -I -c '{program}'", "--grace", "0.3") as process:
        _, namespace = started(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert gone(namespace)
