import errno
import socket

import pytest

from bridge.errors import TunnelError
from bridge.tunnel import failures


@pytest.mark.parametrize(
    ("code", "text", "kind", "number"),
    [
        (2, "Connection refused", ConnectionRefusedError, errno.ECONNREFUSED),
        (2, "No route to host", OSError, errno.EHOSTUNREACH),
        (2, "Network is unreachable", OSError, errno.ENETUNREACH),
        (2, "Connection timed out", TimeoutError, errno.ETIMEDOUT),
        (2, "Name or service not known", socket.gaierror, socket.EAI_NONAME),
        (2, "Temporary failure in name resolution", socket.gaierror, socket.EAI_AGAIN),
        (2, "something new", OSError, errno.EHOSTUNREACH),
        (1, "open failed", PermissionError, errno.EACCES),
        (4, "", OSError, errno.ENOBUFS),
    ],
)
def test_sshds_words_become_what_connect_raises(code, text, kind, number):
    error = failures.open_failed(code, text, ("db", 5432))
    assert type(error) is kind
    assert error.errno == number
    assert "db" in str(error)


def test_a_port_that_can_not_be_listened_on_is_named_with_what_sshd_said():
    error = failures.cannot_listen(8080, "bind: Address already in use")
    assert "8080" in error.message
    assert "already in use" in error.message
    assert "8080" in error.hint


def test_an_error_of_ours_is_passed_on_as_it_is():
    error = TunnelError("said already")
    assert failures.broken(error) is error
    assert "KeyError" in failures.broken(KeyError()).message
