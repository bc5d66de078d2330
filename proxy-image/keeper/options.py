"""The keeper's command line.

    --ssh-port P --keeper-port K --probe-port R [--listen PORT]... [--hold SECONDS] [--linger SECONDS]
    [--drain SECONDS] [--settings FOLDER] [--guard FOLDER] [--run FOLDER] [--sshd FILE]

No argparse and no dataclass: importing either takes as long as starting sshd.
"""


class ConfigurationError(Exception):
    """The container is not set up as the keeper needs it; the text says what is wrong."""


class Options:
    """What the container's args say.

    ``listen``: the pod's ports that the laptop may listen on. ``hold``: how long, in seconds, a probe waits for an
    answer. ``linger``: how many seconds it goes on after SIGTERM: Services stop sending to a pod only some time after
    it was told to end. ``drain``: how many it goes on at most while a laptop is still there, that lets open connections
    end. ``settings``: the folder with ``host_key``, ``authorized_keys``, ``token``, and ``orders`` where there is
    something to guard. ``guard``: the folder with the guard's own account: ``token``, ``ca.crt``. ``run``: a folder to
    write to.
    """

    def __init__(self) -> None:
        self.ssh_port = 52022
        self.keeper_port = 52023
        self.probe_port = 52024
        self.listen: tuple[int, ...] = ()
        self.hold = 8.0
        self.linger = 0.0
        self.drain = 12.0
        self.settings = "/etc/bridge"
        self.guard = "/etc/bridge-guard"
        self.run = "/run/bridge"
        self.sshd = "/usr/sbin/sshd"

    @property
    def internal_ports(self) -> frozenset[int]:
        """The ports that the container itself listens on."""
        return frozenset((self.ssh_port, self.keeper_port, self.probe_port))


def parse(arguments: list[str]) -> Options:
    """Read the container's args. Raise `ConfigurationError`."""
    options = Options()
    words = iter(arguments)
    for name in words:
        value = next(words, None)
        if value is None:
            raise ConfigurationError(f"{name} needs a value")
        _set(options, name, value)
    if len(options.internal_ports) < 3 or options.internal_ports & set(options.listen):
        raise ConfigurationError("the ports of sshd, of the keeper, of the probe and to listen on must differ")
    return options


def _set(options: Options, name: str, value: str) -> None:
    if name in ("--ssh-port", "--keeper-port", "--probe-port"):
        setattr(options, name[2:].replace("-", "_"), _port(name, value))
    elif name == "--listen":
        options.listen += (_port(name, value),)
    elif name in ("--hold", "--linger", "--drain"):
        setattr(options, name[2:], _seconds(name, value))
    elif name in ("--settings", "--guard", "--run", "--sshd"):
        setattr(options, name[2:], value)
    else:
        raise ConfigurationError(f"unknown option {name}")


def _port(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise ConfigurationError(f"{name} {value}: not a port")
    return int(value)


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise ConfigurationError(f"{name} {value}: not a number of seconds up to 3600")
    return seconds
