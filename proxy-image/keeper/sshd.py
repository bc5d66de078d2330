"""How sshd runs: unprivileged under any uid, for the one session, and as closed as its work allows.

sshd wants a passwd entry for its uid, which the image can't have: libnss_wrapper gives it one from a file. sshd gets no
variable of the container's, only what the wrapper needs.
"""

import os

from .options import ConfigurationError, Options

USER = "bridge"

# Each line of sshd_config(5) has its reason; what is not here is sshd's default.
_CONFIGURATION = """\
# Port-forwards come in by the pod's loopback; other pods do not.
ListenAddress 127.0.0.1:{ssh_port}
HostKey {settings}/host_key
AuthorizedKeysFile {settings}/authorized_keys
PidFile none

# Who: this session's key, nothing else.
AllowUsers {user}
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
GSSAPIAuthentication no
HostbasedAuthentication no
PermitEmptyPasswords no
UsePAM no
MaxAuthTries 3
LoginGraceTime 10
MaxStartups 20:50:60
# A mounted Secret's folder is world-writable with the sticky bit: that is the kubelet's doing, and it is read-only.
StrictModes no

# What: bytes through channels, and files. No program is ever started: there is no shell in the image.
ForceCommand internal-sftp
Subsystem sftp internal-sftp
AllowTcpForwarding yes
PermitOpen any
PermitListen {permit_listen}
# The laptop listens for the whole pod network, which is what the target did.
GatewayPorts clientspecified
AllowAgentForwarding no
AllowStreamLocalForwarding no
X11Forwarding no
PermitTunnel no
PermitTTY no
PermitUserRC no
PermitUserEnvironment no
MaxSessions 16

# How: what is modern, and fastest first. Channels of all connections share one TCP stream.
Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
MACs hmac-sha2-256-etm@openssh.com
HostKeyAlgorithms ssh-ed25519
PubkeyAcceptedAlgorithms ssh-ed25519
Compression no
IPQoS none
# GCM allows 64 GiB with one key; each new one costs a round trip in which nothing flows.
RekeyLimit 16G 12h
# A laptop that fell asleep holds the ports that it listens on until it is found gone.
ClientAliveInterval 10
ClientAliveCountMax 3
TCPKeepAlive yes
# No look-ups of names, nothing to greet with, no content or secret in the log.
UseDNS no
PrintMotd no
PrintLastLog no
VersionAddendum none
LogLevel INFO
"""


def configuration(options: Options) -> str:
    """Render sshd_config."""
    return _CONFIGURATION.format(
        user=USER,
        ssh_port=options.ssh_port,
        settings=options.settings,
        permit_listen=" ".join(map(str, options.listen)) or "none",
    )


def passwd(uid: int, gid: int, shell: str) -> str:
    """Render the passwd file. sshd insists on a shell that exists and is executable; it never runs it."""
    return f"{USER}:x:{uid}:{gid}::/:{shell}\n"


def group(gid: int) -> str:
    """Render the group file."""
    return f"{USER}:x:{gid}:\n"


def prepare(options: Options) -> None:
    """Check what the pod has to provide, and write sshd's files. Raise `ConfigurationError`."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        raise ConfigurationError("it does not run as root: set runAsNonRoot, or runAsUser to another uid")
    for name in ("host_key", "authorized_keys", "token"):
        read_setting(options, name)
    for name, text in (
        ("sshd_config", configuration(options)),
        ("passwd", passwd(uid, gid, options.sshd)),
        ("group", group(gid)),
    ):
        _write(f"{options.run}/{name}", text)


def read_setting(options: Options, name: str) -> bytes:
    """Read a file of the session's Secret."""
    path = f"{options.settings}/{name}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # pathlib takes 5 ms to import
            content = file.read().strip()
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}; the session's Secret goes there") from error
    if not content:
        raise ConfigurationError(f"{path} is empty")
    return content


def _write(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"can't write {path}: {error.strerror}; an emptyDir goes there") from error


def start(options: Options) -> int:
    """Start sshd; return its pid. It logs to standard error, the container's log."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin",
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": f"{options.run}/passwd",
        "NSS_WRAPPER_GROUP": f"{options.run}/group",
    }
    # sshd starts itself anew for each connection, so it wants its full path as its name.
    arguments = [options.sshd, "-D", "-e", "-f", f"{options.run}/sshd_config"]
    try:
        return os.posix_spawn(options.sshd, arguments, environment, setsigmask=())
    except OSError as error:
        raise ConfigurationError(f"can't start {options.sshd}: {error.strerror}") from error
