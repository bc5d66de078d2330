"""What can be wrong with the laptop's link: delay, loss, cut, black hole. Connections live through all of it.

Delay and loss: this kernel may have no netem, so `cable` (src/cable) joins two TAP devices, and the two hosts'
routes to each other lead over them; when the cable ends, its devices go, and the routes through the veth pair count
again. Cut: the laptop's devices are down, so its own programs see at once that there is no network. Black hole:
everything is dropped where it arrives, and nobody is told.
"""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import cgroups, checks, system
from .network import CABLE_DEVICE, LAPTOP_DEVICE, NODE_DEVICE, ip, namespace, nft
from .system import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Settings

_HOLE = "bridge_black_hole"


@dataclass(frozen=True)
class Link:
    """The laptop's link of a cluster."""

    settings: Settings

    def slow(self, *, delay: float = 0, loss: float = 0) -> None:
        """Delay (milliseconds; a round trip takes twice that) and loss (percent), each way; 0 and 0: the plain link."""
        self._end_cable()
        if delay or loss:
            checks.link_devices()
            self._start_cable(delay, loss)

    def cut(self) -> None:
        """Pull the cable out on the laptop's side."""
        for device in self._devices():
            ip(self.settings.laptop_namespace, f"link set {device} down")

    def black_hole(self) -> None:
        """Drop what arrives, on both sides."""
        for name, devices in self._sides():
            listed = ", ".join(f'"{device}"' for device in devices)
            nft(name, f"table inet {_HOLE}\ndelete table inet {_HOLE}\n{_hole(listed)}")

    def mend(self) -> None:
        """End a cut and a black hole; delay and loss stay."""
        for name, _ in self._sides():
            nft(name, f"table inet {_HOLE}\ndelete table inet {_HOLE}\n")
        for device in self._devices():
            ip(self.settings.laptop_namespace, f"link set {device} up")
        if CABLE_DEVICE in self._devices():
            self._route()

    @contextlib.contextmanager
    def is_cut(self) -> Iterator[None]:
        """For the time of the block the link is cut."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    @contextlib.contextmanager
    def is_black_hole(self) -> Iterator[None]:
        """For the time of the block the link is a black hole."""
        self.black_hole()
        try:
            yield
        finally:
            self.mend()

    def restore(self) -> None:
        """The plain link again."""
        self.slow()
        self.mend()

    def describe(self) -> str:
        """How the link is now, in words."""
        laptop = self.settings.laptop_namespace
        words = []
        if "state DOWN" in ip(laptop, f"link show {LAPTOP_DEVICE}"):
            words.append("cut")
        tables = system.run(["nsenter", f"--net={namespace(laptop)}", "nft", "list", "tables"])
        if _HOLE in tables:
            words.append("black hole")
        if self._cable():
            words.append((self.settings.run / "cable-is").read_text())
        return ", ".join(words) or "plain"

    # -- the cable ------------------------------------------------------------------------------------------------
    def _cable(self) -> system.Process | None:
        return system.load(self.settings.run / "cable")

    def _start_cable(self, delay: float, loss: float) -> None:
        settings = self.settings
        ends = [str(namespace(name)) for name, _ in self._sides()]
        program = [str(settings.binaries / "cable"), *ends, CABLE_DEVICE, str(delay), str(loss)]
        with (settings.logs / "cable.log").open("ab") as log:
            process = subprocess.Popen(
                cgroups.entering(settings.node.cgroup, program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
            )
        assert process.stdout is not None
        with process.stdout as said:
            if said.readline().strip() != "up":
                process.wait()
                raise HarnessError(f"the cable did not start; see {settings.logs / 'cable.log'}")
        system.save(settings.run / "cable", process.pid)
        process.returncode = 0  # it outlives us; nobody here waits for it
        (settings.run / "cable-is").write_text(f"delay {delay:g} ms, loss {loss:g} % each way")
        for name, _ in self._sides():
            ip(name, f"link set {CABLE_DEVICE} up")
        self._route()

    def _end_cable(self) -> None:
        if cable := self._cable():
            cable.end()
        (self.settings.run / "cable").unlink(missing_ok=True)

    def _route(self) -> None:
        """Lead both hosts to each other over the cable; their addresses stay, and so their connections."""
        laptop, node = self.settings.laptop_address, self.settings.node.address
        ip(self.settings.laptop_namespace, f"route replace {node}/32 dev {CABLE_DEVICE} src {laptop}")
        ip(self.settings.node.namespace, f"route replace {laptop}/32 dev {CABLE_DEVICE} src {node}")

    def _devices(self) -> list[str]:
        present = ip(self.settings.laptop_namespace, "-brief link show")
        return [
            device for device in (LAPTOP_DEVICE, CABLE_DEVICE) if f"{device}@" in present or f"{device} " in present
        ]

    def _sides(self) -> list[tuple[str, tuple[str, str]]]:
        laptop, node = self.settings.laptop_namespace, self.settings.node.namespace
        return [(laptop, (LAPTOP_DEVICE, CABLE_DEVICE)), (node, (NODE_DEVICE, CABLE_DEVICE))]


def _hole(devices: str) -> str:
    return f"""table inet {_HOLE} {{
  chain arriving {{
    type filter hook prerouting priority raw - 10; policy accept;
    iifname {{ {devices} }} drop
  }}
}}
"""


def end(settings: Settings) -> None:
    """End the cable's process."""
    if cable := system.load(settings.run / "cable"):
        cable.end()
