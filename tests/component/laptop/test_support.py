"""What a real kernel tells of a process that is confined."""

import subprocess
import sys

FILTERED = """
import ctypes
from bridge.laptop.support import is_confined, read_own

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]

allow_all = ctypes.create_string_buffer(bytes.fromhex("0600 00 00") + (0x7FFF0000).to_bytes(4, "little"))
program = Program(1, ctypes.addressof(allow_all))
prctl = ctypes.CDLL(None, use_errno=True).prctl
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
assert prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) == 0
print(is_confined(read_own("status"), read_own("attr/current") or ""))
"""


def test_a_seccomp_filter_is_seen_as_a_container_has_one():
    done = subprocess.run([sys.executable, "-c", FILTERED], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "True\n"
