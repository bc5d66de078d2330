import io
import logging
from collections.abc import Callable, Iterator

import pytest

from bridge.logs import MASK, configure, redact, register_secret

Logged = Callable[..., io.StringIO]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Configure logging into a buffer, and put the loggers back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("bridge")
    before = root.handlers[:], root.level, ours.level

    def start(*, verbose: bool) -> io.StringIO:
        stream = io.StringIO()
        configure(verbose=verbose, stream=stream)
        return stream

    yield start
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    ours.setLevel(own_level)


def test_a_secret_is_masked_in_messages_arguments_and_tracebacks(logged: Logged) -> None:
    stream = logged(verbose=True)
    register_secret("swordfish", b"bytes-secret")
    log = logging.getLogger("bridge.test")
    log.debug("token %s, swordfish", "swordfish")
    try:
        int("bytes-secret")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "swordfish" not in text
    assert "bytes-secret" not in text
    assert f"token {MASK}, {MASK}" in text
    assert "ValueError" in text


def test_a_key_is_masked_line_by_line_and_as_a_whole() -> None:
    key = "-----BEGIN KEY-----\nQUJDREVGRw==\nSElKS0xNTg==\n-----END KEY-----\n"
    register_secret(key)
    assert redact(f"<{key}>") == f"<{MASK}>"
    assert redact(repr(key)).count(MASK) == 2
    assert redact("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


def test_a_secret_within_a_secret_leaves_nothing_of_the_longer() -> None:
    register_secret("inner-part", "outer-inner-part-outer")
    assert redact("outer-inner-part-outer") == MASK


def test_short_values_do_not_garble_the_log() -> None:
    register_secret("", "a", "true")
    assert redact("a true story") == "a true story"


def test_quiet_logging_shows_our_warnings_only(logged: Logged) -> None:
    stream = logged(verbose=False)
    logging.getLogger("bridge.x").debug("detail")
    logging.getLogger("bridge.x").warning("ours")
    logging.getLogger("library").error("theirs")
    assert stream.getvalue().split(": ")[1:] == ["ours\n"]


def test_libraries_are_no_louder_than_warnings(logged: Logged) -> None:
    stream = logged(verbose=True)
    logging.getLogger("library").info("a whole request")
    logging.getLogger("library").warning("trouble")
    assert "a whole request" not in stream.getvalue()
    assert "trouble" in stream.getvalue()
