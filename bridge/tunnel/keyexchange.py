"""Agreeing on keys with the pod's sshd, and proving who we are: paramiko's protocol code, without its thread.

paramiko's Transport reads a blocking socket in a thread of its own and makes everyone else wait on locks. Its protocol
steps, though, are methods that take a message and send others through a packetizer. This subclass is never started:
the connection feeds it the messages of a key exchange as they come, in the event loop, and its packetizer is `Packets`.

    ours                                         sshd's
    version, KEXINIT                    ->       (at once; one round trip saved)
                                        <-       version, KEXINIT
    KEX_ECDH_INIT                       ->
                                        <-       KEX_ECDH_REPLY, NEWKEYS
    NEWKEYS, SERVICE, USERAUTH          ->       (together; another one saved)
                                        <-       SERVICE_ACCEPT, USERAUTH_SUCCESS

Later exchanges, either side's, are the two KEX rows again. From the KEXINIT that we send to our NEWKEYS nothing else
may be sent (RFC 4253, 7.1): `sending` says so. The host key is pinned: the session made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.tunnel.packets import Packets

KEXINIT, NEWKEYS = 20, 21
KEX_FIRST, KEX_LAST = 30, 41
USERAUTH_REQUEST = 50


class _NoSocket:
    """What paramiko's constructor wants of a socket."""

    def settimeout(self, timeout: float) -> None:
        """Do nothing: nobody reads it."""

    def close(self) -> None:
        """Do nothing: nobody opened it."""


# What is overridden and called here is private to paramiko, so its stubs know nothing of it. The versions that the lock
# allows are tested against a real sshd, through first and later key exchanges.
_Transport: Any = paramiko.Transport


class KeyExchange(_Transport):  # type: ignore[misc]  # see above
    """One side of every key exchange of a connection. ``host_key``: the blob that the pod's sshd has to prove."""

    _preferred_ciphers = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
    _preferred_kex = ("curve25519-sha256@libssh.org",)
    _preferred_keys = ("ssh-ed25519",)

    def __init__(self, packets: Packets, *, host_key: bytes, on_keys: Callable[[], object]) -> None:
        super().__init__(_NoSocket(), packetizer_class=lambda _: packets)
        self._expected_packet: tuple[int, ...] = ()
        self._packets = packets
        self._pinned = host_key
        self._on_keys = on_keys
        self.sending = False
        self.exchanges = 0

    def begin(self) -> None:
        """Send our version line and KEXINIT."""
        self._packets.write_all(f"{self.local_version}\r\n".encode())
        self._send_kex_init()
        self._expect_packet(KEXINIT)

    def again(self) -> None:
        """Ask for new keys, unless that is under way."""
        if self.sending:
            self._send_kex_init()

    def handles(self, number: int) -> bool:
        """Whether a message belongs to a key exchange. SSHException when another was due."""
        expected = self._expected_packet
        if expected and number not in expected:
            raise SSHException(f"expected message {expected}, got {number}")
        return number in (KEXINIT, NEWKEYS) or KEX_FIRST <= number <= KEX_LAST

    def handle(self, number: int, fields: bytes, sequence: int) -> None:
        """Take one step. ``fields`` is the message without its number. SSHException, or what cryptography raises."""
        message: Any = Message(fields)
        message.seqno = sequence  # strict key exchange looks whether KEXINIT came first
        self._expected_packet = ()
        if number == KEXINIT:
            self._negotiate_keys(message)
        elif number == NEWKEYS:
            self._parse_newkeys(message)
            self.sending = True
            self.exchanges += 1
            self._on_keys()
        elif self.kex_engine is None:
            raise SSHException(f"message {number} outside of a key exchange")
        else:
            self.kex_engine.parse_next(number, message)

    def auth_request(self, user: str, key: paramiko.PKey) -> bytes:
        """Build the USERAUTH_REQUEST that proves we hold ``key`` (RFC 4252, 7)."""
        request = Message()
        request.add_byte(bytes([USERAUTH_REQUEST]))
        for text in (user, "ssh-connection", "publickey"):
            request.add_string(text)
        request.add_boolean(True)
        request.add_string(key.get_name())
        request.add_string(key.asbytes())
        signed = Message()
        signed.add_string(self.session_id or b"")
        signed.add_bytes(request.asbytes())
        request.add_string(key.sign_ssh_data(signed.asbytes(), key.get_name()))
        return request.asbytes()

    # -- steps of paramiko's, with what we add --------------------------------------------------------------------

    def _send_kex_init(self) -> None:
        self.sending = False
        super()._send_kex_init()

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        if host_key != self._pinned:
            raise SSHException("the pod shows another host key than this session's")
        super()._verify_key(host_key, sig)
