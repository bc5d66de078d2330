"""The process's environment: the container's variables, on top of the developer's own.

Byte for byte: names and values are bytes, as execve(2) takes them. From the lowest layer to the highest:

    layer       from                                        left out of it
    ----------  ------------------------------------------  ---------------------------------------------------------
    laptop      the developer's whole environment           proxies, the names of another session around this one
    image       what only the running original has:         laptop's own, toolchain, locale where the laptop has one,
                ENV lines of its image                      service variables of Services that are gone
    pod         the proxy container's: env, envFrom,        laptop's own, parts of a toolchain that would break the
                fieldRef, service variables, HOSTNAME       laptop's programs
    session     BRIDGE_SESSION, _TARGET, ...                nothing

    class         names                                     why
    ------------  ----------------------------------------  ---------------------------------------------------------
    laptop's own  PATH HOME USER SHELL TERM PWD TMPDIR      they say where and who the developer is; the pod's would
                  DISPLAY EDITOR SSH_AUTH_SOCK XDG_* ...    break shells, editors, debuggers, virtual environments
    hard          LD_LIBRARY_PATH LD_PRELOAD JAVA_HOME      files of the image's own file system: the loader, a JVM or
                  PYTHONHOME GOROOT ...                     an interpreter would not start
    toolchain     PYTHONPATH NODE_PATH GOPATH CLASSPATH     the image's files too, but where the pod's spec sets them
                  GEM_HOME KUBECONFIG ...                   they may name a volume, which is there: pod yes, image no
    locale        LANG LANGUAGE LC_* TZ                     the developer's, unless the pod's spec sets them
    proxies       HTTP_PROXY NO_PROXY ... (any case)        the laptop's way out; in the sandbox, traffic leaves from
                                                            the pod. The pod's own ones are kept

BRIDGE_IMAGE and other settings of bridge are the developer's, and stay. Variables that a container runtime sets by
itself (PATH, HOME, TERM) are all the laptop's own, so what the proxy image and its runtime add never shows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

Environment = dict[bytes, bytes]


def _names(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_LAPTOPS = _names(
    "PATH HOME USER LOGNAME SHELL PWD OLDPWD SHLVL _ TERM COLORTERM TERMINFO TERMINFO_DIRS TERM_PROGRAM "
    "TERM_PROGRAM_VERSION COLUMNS LINES TMPDIR TMP TEMP DISPLAY WAYLAND_DISPLAY XAUTHORITY DBUS_SESSION_BUS_ADDRESS "
    "EDITOR VISUAL VIRTUAL_ENV VIRTUAL_ENV_PROMPT SSH_AUTH_SOCK SSH_AGENT_PID SSH_ASKPASS SSH_CONNECTION SSH_CLIENT "
    "SSH_TTY GPG_TTY"
)
_LAPTOPS_PREFIXES = (b"XDG_", b"CONDA_", b"PYENV_", b"NVM_", b"VSCODE_")
_HARD = _names(
    "LD_LIBRARY_PATH LD_PRELOAD LD_AUDIT PYTHONHOME PYTHONEXECUTABLE JAVA_HOME JRE_HOME GOROOT GOTOOLDIR RUSTUP_HOME "
    "CARGO_HOME RUBYLIB PERL5LIB DOTNET_ROOT"
)
_TOOLCHAIN = _names(
    "PYTHONPATH PYTHON_VERSION PYTHON_SHA256 PYTHON_PIP_VERSION PYTHONSTARTUP PYTHONUSERBASE NODE_PATH NODE_VERSION "
    "YARN_VERSION NPM_CONFIG_PREFIX GOPATH GOTOOLCHAIN GOLANG_VERSION CLASSPATH JAVA_VERSION MAVEN_HOME GRADLE_HOME "
    "GEM_HOME GEM_PATH BUNDLE_APP_CONFIG BUNDLE_PATH RUBY_VERSION COMPOSER_HOME PHP_INI_DIR DOTNET_VERSION GPG_KEY "
    "SSL_CERT_DIR SSL_CERT_FILE KUBECONFIG"
)
_PROXIES = _names("http_proxy https_proxy ftp_proxy all_proxy no_proxy")
_LOCALE = re.compile(rb"LANG|LANGUAGE|LC_[A-Z]+|TZ")
_SESSION = _names("BRIDGE_SESSION BRIDGE_NAMESPACE BRIDGE_CONTEXT BRIDGE_TARGET BRIDGE_ROOT BRIDGE_MOUNTS")


@dataclass(frozen=True)
class SessionIdentity:
    """Which session a process is in. ``target``: ``deployment/web``, empty without --swap.

    ``mounts``: where the pod's volumes are; ``root``: the folder that these paths are in, as the process sees it.
    """

    session: str
    namespace: str
    context: str
    target: str = ""
    mounts: tuple[str, ...] = ()
    root: str = "/"

    def variables(self) -> Environment:
        """Return the BRIDGE_* variables that say so."""
        named = {
            "BRIDGE_SESSION": self.session,
            "BRIDGE_NAMESPACE": self.namespace,
            "BRIDGE_CONTEXT": self.context,
            "BRIDGE_TARGET": self.target,
        }
        return _named(named) | self.whereabouts()

    def whereabouts(self) -> Environment:
        """Return those of them that say where the pod's files are, which are in --env-file, too."""
        return _named({"BRIDGE_ROOT": self.root if self.mounts else "", "BRIDGE_MOUNTS": ":".join(self.mounts)})


def _named(values: Mapping[str, str]) -> Environment:
    return {name.encode(): value.encode(errors="surrogateescape") for name, value in values.items() if value}


def parse_environ(data: bytes) -> Environment:
    """Read an environment as /proc/PID/environ has it: ``NAME=VALUE``, each ended by NUL; a name's first one counts."""
    pairs = (entry.partition(b"=") for entry in data.split(b"\0"))
    result: Environment = {}
    for name, equals, value in pairs:
        if name and equals:
            result.setdefault(name, value)
    return result


def cluster_environment(pod: bytes, image: bytes | None, laptop: Mapping[bytes, bytes]) -> Environment:
    """Return what the cluster says: the variables that go on top of the laptop's, and into --env-file.

    ``pod``: the environ of the proxy pod's chosen container. ``image``: that of the running original, if it could be
    read: what only it has comes from its image. ``laptop`` decides only whether a locale of the image is wanted.
    """
    of_pod = parse_environ(pod)
    of_image = {name: value for name, value in parse_environ(image or b"").items() if name not in of_pod}
    stale = _service_links(of_image)
    wanted_of_image = {
        name: value for name, value in of_image.items() if _from_image(name, laptop) and not name.startswith(stale)
    }
    return wanted_of_image | {name: value for name, value in of_pod.items() if _from_pod(name)}


def process_environment(
    laptop: Mapping[bytes, bytes], pod: bytes, image: bytes | None, session: SessionIdentity
) -> Environment:
    """Return the whole environment of the process. ``laptop``: ``os.environb``; the rest as ``cluster_environment``."""
    base = {name: value for name, value in laptop.items() if _from_laptop(name)}
    return base | cluster_environment(pod, image, laptop) | session.variables()


def _from_laptop(name: bytes) -> bool:
    return name not in _SESSION and name.lower() not in _PROXIES


def _from_pod(name: bytes) -> bool:
    return not _is_laptops(name) and name not in _HARD


def _from_image(name: bytes, laptop: Mapping[bytes, bytes]) -> bool:
    if not _from_pod(name) or name in _TOOLCHAIN:
        return False
    return not (_LOCALE.fullmatch(name) and name in laptop)


def _service_links(environ: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Return the prefixes of service variables in ``environ``.

    The kubelet writes REDIS_SERVICE_HOST, REDIS_SERVICE_PORT and, as Docker did, REDIS_PORT=tcp://ADDRESS:PORT. A name
    like SERVER_PORT=80 alone is an image's own.
    """
    suffix = b"_SERVICE_HOST"
    services = [name.removesuffix(suffix) for name in environ if name.endswith(suffix)]
    linked = [name for name in services if b"://" in environ.get(name + b"_PORT", b"")]
    return tuple(name + part for name in linked for part in (b"_SERVICE_", b"_PORT"))


def _is_laptops(name: bytes) -> bool:
    return name in _LAPTOPS or name.startswith(_LAPTOPS_PREFIXES)
