"""Gather the proxy image's files: sshd, a Python with just the modules that the keeper imports, and their libraries.

    /usr/bin/python3 rootfs.py FOLDER

It copies from the system that it runs on, Debian or one made from it, with openssh-server, libnss-wrapper and python3
installed: the Containerfile's first stage, or the machine that has the local cluster. What is gathered is the whole
image: no shell, no package manager, nothing setuid, nothing that starts another program but sshd itself.

Modules are compiled here: the image is read-only, and compiling takes longer at each start than all else.
"""

import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = Path("/usr/bin/python3")
SSHD = Path("/usr/sbin/sshd")
PACKAGES = "openssh-server libnss-wrapper python3"
APPLICATION = "opt/bridge"  # with the layout of a clone: see entrypoint.py
UID = 65532

# Not imported until something is wrong.
_FOR_BAD_DAYS = ("traceback", "encodings.ascii", "encodings.idna", "encodings.latin_1")
_FOLDERS = {"etc/bridge": 0o755, "run/bridge": 0o755, "tmp": 0o1777, "dev": 0o755, "proc": 0o555, "sys": 0o555}
_LINKS = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
_TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/nonexistent\nbridge:x:{UID}:{UID}::/:/nonexistent\n",
    "etc/group": f"root:x:0:\nbridge:x:{UID}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def main(folder: Path) -> None:
    """Gather everything in the folder, which is made anew."""
    wrapper = _wrapper()
    modules = _modules()
    extensions = [path for path in modules if path.suffix == ".so"]
    shutil.rmtree(folder, ignore_errors=True)
    _make_skeleton(folder)
    programs = [SSHD, PYTHON, wrapper, *extensions]
    binaries = {*programs, *_libraries(programs)}
    for binary in binaries:
        _copy(binary, folder)
    for path in modules:
        if path.suffix == ".py":
            _compile(path, folder / _merged(path), optimize=2)
    _name_packages({*binaries, *modules}, folder)
    _add_application(folder / APPLICATION)


def _wrapper() -> Path:
    """Find libnss_wrapper where the loader looks for it, and with it all that there has to be."""
    found = [path for path in Path("/usr/lib").glob("*/libnss_wrapper.so") if path.exists()]
    missing = [str(path) for path in (SSHD, PYTHON) if not path.exists()]
    if missing or not found:
        missing += [] if found else ["libnss_wrapper.so"]
        raise SystemExit(f"missing: {', '.join(missing)}. On Debian and Ubuntu: apt-get install {PACKAGES}")
    return found[0]


def _modules() -> list[Path]:
    """Ask the interpreter which files of the standard library the keeper imports."""
    program = f"""if True:
        import sys, json
        sys.path[:0] = {[str(HERE), str(HERE.parent)]!r}
        import keeper.main, keeper.service, keeper.guard, resource, {", ".join(_FOR_BAD_DAYS)}
        print(json.dumps([getattr(module, "__file__", None) for module in list(sys.modules.values())]))
    """
    result = subprocess.run([PYTHON, "-I", "-S", "-B", "-c", program], check=True, capture_output=True, text=True)
    files = {Path(name) for name in json.loads(result.stdout) if name}
    return sorted(path for path in files if not path.is_relative_to(HERE.parent))


def _libraries(binaries: list[Path]) -> set[Path]:
    """Ask the loader which libraries the binaries need; it is among them."""
    result = subprocess.run(["ldd", *binaries], check=True, capture_output=True, text=True)
    words = (word for line in result.stdout.splitlines() if "(0x" in line for word in line.split())
    return {Path(word) for word in words if word.startswith("/")}


def _make_skeleton(folder: Path) -> None:
    for name, mode in _FOLDERS.items():
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(mode)
    for name in _LINKS.values():
        (folder / name).mkdir(parents=True)
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)
    for name, text in _TEXTS.items():
        (folder / name).write_text(text)


def _merged(path: Path) -> str:
    """Name the path in the image, where /lib is a link to /usr/lib as everywhere now."""
    relative = str(path).lstrip("/")
    return relative if relative.startswith("usr/") else f"usr/{relative}"


def _copy(source: Path, folder: Path) -> None:
    target = folder / _merged(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # follows links: one file for each name that the loader asks for
    target.chmod(0o755)


def _compile(source: Path, target: Path, *, optimize: int = 0) -> None:
    """Put the compiled module where its source would be (PEP 3147: sourceless), the same for the same source."""
    target.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(
        str(source),
        str(target.with_suffix(".pyc")),
        source.name,
        doraise=True,
        optimize=optimize,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _name_packages(paths: set[Path], folder: Path) -> None:
    """Say whose files these are: the licences that go with them, and the status that scanners for known faults read.

    ``status.d`` is where they look in images without a package manager.
    """
    names = {other for path in paths for other in (str(path.resolve()), str(path.resolve()).removeprefix("/usr"))}
    # It fails for names that no package has: those of links, and one of the two that /usr gives to the others.
    owners = subprocess.run(["dpkg-query", "--search", *names], check=False, capture_output=True, text=True).stdout
    packages = sorted({line.split(":")[0] for line in owners.splitlines()})
    for package in packages:
        status = subprocess.run(["dpkg-query", "--status", package], check=True, capture_output=True, text=True).stdout
        _write(folder / "var/lib/dpkg/status.d" / package, status)
        copyright_file = Path("/usr/share/doc") / package / "copyright"
        if copyright_file.exists():
            _write(folder / str(copyright_file).lstrip("/"), copyright_file.read_text())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _add_application(folder: Path) -> None:
    clone = HERE.parent
    sources = [clone / "bridge" / "__init__.py"]
    for package in (clone / "bridge" / "wire", HERE / "keeper"):
        sources += sorted(package.rglob("*.py"))
    for source in sources:
        _compile(source, folder / source.relative_to(clone))
    shutil.copyfile(HERE / "entrypoint.py", folder / "proxy-image" / "entrypoint.py")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    os.umask(0o022)
    main(Path(sys.argv[1]))
