import base64
import io

import paramiko

from bridge.tunnel.keys import make_session_keys


def test_keys_are_openssh_text_and_pairs():
    keys = make_session_keys()
    for private, public in ((keys.client_private, keys.client_public), (keys.host_private, keys.host_public)):
        kind, blob = public.split()
        assert kind == "ssh-ed25519"
        assert paramiko.Ed25519Key.from_private_key(io.StringIO(private)).asbytes() == base64.b64decode(blob)


def test_keys_are_new_each_time_and_not_shown():
    first, second = make_session_keys(), make_session_keys()
    assert first.client_public != second.client_public
    assert first.host_public != first.client_public
    assert "PRIVATE" not in repr(first)
