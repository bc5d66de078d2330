"""Becomes the command that it is given, for which the kernel has no IPv6 sockets, as with ipv6.disable=1.

A seccomp filter (seccomp(2)) has socket(AF_INET6, ...) say so. Ends with 77 where it doesn't know the system call.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2  # linux/prctl.h, linux/seccomp.h
LOAD_WORD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
SOCKET = {"x86_64": 41, "aarch64": 198}


def main() -> None:
    if platform.machine() not in SOCKET:
        sys.stderr.write(f"the number of socket(2) on {platform.machine()} is not known here")
        sys.exit(77)
    instructions = [
        (LOAD_WORD, 0, 0, NUMBER),
        (IF_EQUAL, 0, 3, SOCKET[platform.machine()]),
        (LOAD_WORD, 0, 0, FIRST_ARGUMENT),
        (IF_EQUAL, 0, 1, socket.AF_INET6),
        (RETURN, 0, 0, FAIL),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in instructions))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
