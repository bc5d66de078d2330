import os
import socket

import pytest

from bridge.laptop import messages


@pytest.fixture
def pair():
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with first, second:
        yield first, second


def test_a_message_arrives_with_its_descriptors_not_inheritable(pair):
    read, write = os.pipe()
    messages.send(pair[0], {"name": "ü\udcff"}, [write])
    message, descriptors = messages.receive(pair[1])
    assert message == {"name": "ü\udcff"}
    assert [os.get_inheritable(fd) for fd in descriptors] == [False]
    os.write(descriptors[0], b"x")
    assert os.read(read, 1) == b"x"
    for fd in (read, write, *descriptors):
        os.close(fd)


def test_a_message_larger_than_the_sockets_buffer_arrives_whole(pair):
    large = {"env": {f"V{n}": "x" * 100_000 for n in range(30)}}
    messages.send(pair[0], large, [pair[0].fileno()])
    message, descriptors = messages.receive(pair[1])
    assert message == large
    assert len(descriptors) == 1
    os.close(descriptors[0])


def test_the_end_of_the_other_side_is_told(pair):
    pair[0].close()
    with pytest.raises(messages.Closed):
        messages.receive(pair[1])
    with pytest.raises(messages.Closed):
        messages.send(pair[1], {})
