"""Names: session ids, names of a session's objects, and near names for "did you mean".

A session id is 40 random bits in base32, lower case: 8 characters that are legal anywhere in a DNS label, a label
value and a file name. Object names hold it, so they never clash and a long target name may be cut without a hash.

    bridge-<id>             the Secret, root of the session's objects
    bridge-<target>-<id>    the ReplicaSet; its pod gets a dash and five characters more
    bridge-<id>-keeper      what lets the keeper restore: ServiceAccount, Role, RoleBinding, and the token's Secret
    bridge-<kind>-<name>    the Lease, of the target and not of the session: who comes second finds it (``lease``)
    bridge-keeper           the account that an administrator prepared, and its Role and RoleBinding
"""

import base64
import difflib
import re
from collections.abc import Iterable, Sequence

ID_BYTES = 5
ID_PATTERN = re.compile(r"[a-z2-7]{8}")

# A pod's name is also its host name, a DNS label (RFC 1123: 63 characters). The ReplicaSet controller appends
# "-xxxxx" to its own name; a name that leaves room for it is never cut by the API server.
DNS_LABEL = 63
GENERATED_SUFFIX = 6
LONGEST_WORKLOAD = DNS_LABEL - GENERATED_SUFFIX


def session_id(random_bytes: bytes) -> str:
    """Make a session's id of ``ID_BYTES`` random bytes (the caller's ``secrets.token_bytes``)."""
    if len(random_bytes) != ID_BYTES:
        raise ValueError(f"a session id is made of {ID_BYTES} bytes, not {len(random_bytes)}")
    return base64.b32encode(random_bytes).decode().lower()


def secret_name(session: str) -> str:
    """Return the name of the session's Secret."""
    return f"bridge-{session}"


def workload_name(target: str, session: str) -> str:
    """Return the name of the session's ReplicaSet for the target called ``target``."""
    room = LONGEST_WORKLOAD - len(f"bridge--{session}")
    label = dns_label(target)[:room].strip("-")
    return f"bridge-{label}-{session}" if label else secret_name(session)


def dns_label(text: str) -> str:
    """Turn any text (a Deployment's name may hold dots) into characters of a DNS label; possibly empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return ``wanted``, or the first of ``wanted-2``, ``wanted-3``... that isn't in ``taken``."""
    there = set(taken)
    if wanted not in there:
        return wanted
    return next(name for n in range(2, len(there) + 3) if (name := f"{wanted}-{n}") not in there)


def near_names(wanted: str, there: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """Return up to ``limit`` of the names ``there`` that someone who typed ``wanted`` may have meant, best first.

    Near is: a slip of the keys away, or one holds the other (``tasks`` for ``tasks-canary``, ``my-tasks``).
    """
    names = sorted(set(there))
    similar = difflib.get_close_matches(wanted, names, n=limit, cutoff=0.6)
    holding = [name for name in names if len(wanted) > 1 and (wanted in name or name in wanted)]
    return tuple(dict.fromkeys(similar + sorted(holding, key=len)))[:limit]


def one_of(names: Sequence[str]) -> str:
    """Write names as a choice: ``a``, ``a or b``, ``a, b or c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} or {names[-1]}"
