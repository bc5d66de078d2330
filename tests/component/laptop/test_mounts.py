"""The pod's volumes at their own paths, whatever the laptop has there, and nothing of the laptop's changed.

The laptop's own /etc must not be changed for a test: where one needs another laptop, bridge runs in a mount namespace
of root's, in which folders have been made as the case wants.
"""

import subprocess
from pathlib import Path

import pytest


def binding(store, *binds: str) -> tuple[str, ...]:
    return ("--store", str(store), *(argument for bind in binds for argument in ("--bind", bind)))


# A laptop of the test's own, in a mount namespace: copies of /etc and /usr/local, empty /run, /srv.
OWN_LAPTOP = """
set -e
mount -t tmpfs tmpfs /mnt; cp -a /etc /mnt/etc; mount --bind /mnt/etc /etc
mount -t tmpfs -o mode=755 tmpfs /run; mount -t tmpfs -o mode=755 tmpfs /srv
"""
LISTED = "{ find /etc /run /srv -printf '%p %y %s %m %U %T@ %l\\n' | sort; cut -d' ' -f4- /proc/self/mountinfo; }"


def on_a_laptop_with(laptop, arrange: str, script: str, options: tuple[str, ...], *, code: int = 0, changes: str = ""):
    """Run a script in a sandbox, and check that the laptop has the same files and mounts afterwards.

    But for ``changes``: a pattern for lines about files that the test itself changes.
    """
    steps = f"""{OWN_LAPTOP}
      {arrange}
      {LISTED} >/mnt/before
      "$@" || ended=$?
      {LISTED} >/mnt/after
      diff --ignore-matching-lines='{changes or "^$"}' /mnt/before /mnt/after >&2
      exit $ended
    """
    argv = ["sh", "-c", steps, "sh", *laptop.argv("sh", "-c", script, options=options)]
    command = ["unshare", "--mount", *argv]
    done = subprocess.run(command, cwd=laptop.home, env=laptop.environment, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("only root can arrange another laptop")
    assert done.returncode == code, done.stderr
    return done


# What the laptop has where the pod has /srv/app/config (a folder) and /srv/app/app.yaml (a file); where the laptop's
# own /srv/app/mine is seen, or not, as something is in its way.
LAPTOPS = {
    "nothing": ("", False),
    "the folder and the file": ("mkdir -p /srv/app/config; touch /srv/app/app.yaml /srv/app/mine", True),
    "the folder above": ("mkdir /srv/app; touch /srv/app/mine", True),
    "the user's own folder above": ("mkdir /srv/app; touch /srv/app/mine; chmod 777 /srv/app", True),
    "a file and a folder instead": ("mkdir -p /srv/app/app.yaml/x; touch /srv/app/config /srv/app/mine", True),
    "a file above": ("touch /srv/app", False),
    "a link to a folder": ("mkdir /srv/real; touch /srv/real/mine; ln -s /srv/real /srv/app", True),
    "a relative link": ("mkdir /run/real; touch /run/real/mine; ln -s ../run/real /srv/app", True),
    "a link to nothing": ("ln -s /nowhere/at/all /srv/app", False),
    "links to nothing at their places": (
        "mkdir /srv/app; touch /srv/app/mine; ln -s nowhere /srv/app/config; ln -s /nowhere/a /srv/app/app.yaml",
        True,
    ),
    "a link to itself": ("ln -s app /srv/app", False),
    "a folder that the user may not enter": ("mkdir -m 700 /srv/app; touch /srv/app/mine", False),
    "a mount above": ("mkdir /srv/app; mount -t tmpfs -o mode=755 tmpfs /srv/app; touch /srv/app/mine", True),
    "a mount below": ("mkdir -p /srv/app/mine; mount -t tmpfs tmpfs /srv/app/mine", True),
}


@pytest.mark.parametrize(("arrange", "mine"), LAPTOPS.values(), ids=LAPTOPS)
def test_volumes_are_at_their_paths_whatever_the_laptop_has(laptop, store, arrange, mine):
    script = """
      cat /srv/app/config/app.yaml /srv/app/app.yaml; readlink /srv/app/config/app.yaml
      echo changed | tee /srv/app/config/app.yaml /srv/app/app.yaml >/dev/null || true
      cat /srv/app/config/app.yaml; [ ! -e /srv/app/mine ] || echo mine
    """
    options = binding(store, "/srv/app/config=config:ro", "/srv/app/app.yaml=config/..2026/app.yaml:ro")
    done = on_a_laptop_with(laptop, arrange, script, options)
    shown = ["color: blue", "color: blue", "..data/app.yaml", "color: blue"]
    assert done.stdout.splitlines() == shown + ["mine"] * mine
    assert done.stderr.count("Read-only file system") == 2


def test_a_volume_directly_below_the_root_folder(laptop, store):
    """As for anybody in a pod; and what is special about the root folder goes on working."""
    script = """
      cat /bridge-test/data/first; echo 2 > /bridge-test/data/second; ls /bridge-test/data
      pwd; cd /..; ls -d bridge-test; stat -c %F /proc/self/root/bridge-test
      unshare --user --map-root-user --mount --pid --fork --mount-proc cat /bridge-test/data/first
      grep -c aliased /etc/hosts; touch /mine
    """
    done = laptop.run("sh", "-c", script, options=binding(store, "/bridge-test/data=data"))
    below_root = ["1", "first", "second", str(laptop.home), "bridge-test", "directory", "1", "1"]
    assert done.stdout.splitlines() == below_root, done.stderr
    assert "/mine': Permission denied" in done.stderr
    assert not Path("/bridge-test").exists()


def test_the_resolvers_files_stay_covered_under_a_new_root(laptop, store):
    arrange = "chmod 777 /etc /mnt/etc; (sleep 0.5; echo nameserver 9.9.9.9 > /etc/new; mv /etc/new /etc/resolv.conf) &"
    script = "while ! grep -q 9.9.9.9 /mnt/etc/resolv.conf; do sleep 0.05; done; sleep 0.3; cat /etc/resolv.conf"
    done = on_a_laptop_with(laptop, arrange, script, binding(store, "/bridge-test/data=data"), changes="^/etc")
    assert done.stdout.splitlines()[-1] == "options ndots:5", done.stderr


def test_volumes_in_volumes_and_over_the_resolvers_files(laptop, store):
    """/etc as a whole from a volume, another in it, and a file over one that bridge covers."""
    script = "cat /etc/app.yaml /etc/keys/token /etc/hosts /etc/nsswitch.conf; head -1 /etc/resolv.conf; ls -A /etc"
    options = binding(store, "/etc/keys=secret:ro", "/etc=config:ro", "/etc/hosts=data/first:ro")
    done = on_a_laptop_with(laptop, "", script, options)
    assert done.stdout.splitlines()[:3] == ["color: blue", "s3cret", "1"]
    assert "hosts: files dns" in done.stdout
    assert "search ns.svc.cluster.local svc.cluster.local cluster.local" in done.stdout
    assert set(done.stdout.split()[-7:]) == {
        "..2026",
        "..data",
        "app.yaml",
        "hosts",
        "keys",
        "nsswitch.conf",
        "resolv.conf",
    }


def test_binding_again_changes_nothing(laptop, store):
    options = (*binding(store, "/bridge-test/config=config:ro", "/var/run/secrets/x=secret:ro"), "--times")
    once, often = (laptop.run("cat", "/proc/self/mountinfo", options=(*options, times)) for times in ("1", "3"))
    assert len(often.stdout.splitlines()) == len(once.stdout.splitlines())


def test_many_volumes_are_no_trouble(laptop, store):
    places = [f"{folder}/{number}" for folder in ("/bridge-test", "/etc/bridge-test", "/run") for number in range(50)]
    options = binding(store, *(f"{place}=secret:ro" for place in places))
    done = laptop.run("sh", "-c", "cat /bridge-test/*/token /etc/bridge-test/*/token /run/*/token", options=options)
    assert done.stdout == "s3cret\n" * 150, done.stderr


def test_a_folder_of_the_users_own_that_had_to_be_covered_is_told(laptop, store):
    options = binding(store, f"{store}/new=config:ro", "/bridge-test/data=data")
    done = laptop.run("ls", str(store), options=options)
    assert done.stdout.split() == ["config", "data", "new", "secret"]
    assert f"covered: {store}\n" in done.stderr
    assert not (store / "new").exists()


@pytest.mark.parametrize("path", ["/", "/proc/self/x", "/sys/x"])
def test_the_kernels_own_folders_are_refused(laptop, store, path):
    done = laptop.run("true", options=binding(store, f"{path}=config:ro"))
    assert done.returncode == 7
    assert f"The pod's volume at {path} can't be shown" in done.stderr


def test_a_folder_that_the_user_may_not_list_is_left_alone(laptop, store):
    """Its entries can be used by who knows their names: a room could not show them."""
    done = on_a_laptop_with(laptop, "mkdir -m 711 /srv/app", "true", binding(store, "/srv/app/config=config"), code=7)
    assert "it needs a new entry in a folder that you may not list" in done.stderr


def test_secrets_are_the_users_alone_and_gone_afterwards(laptop, store):
    script = "ls -ld /run/bridge-test; ls -l /run/bridge-test/token; id -u; cat /run/bridge-test/token"
    done = laptop.run("sh", "-c", script, options=binding(store, "/run/bridge-test=secret:ro"))
    assert done.stdout.startswith("drwx------")
    assert "\n-rw-------" in done.stdout
    assert done.stdout.splitlines()[-2:] == [str(laptop.uid), "s3cret"]
