"""Files read from OpenSSH's SFTP server, over the whole tunnel."""

import asyncio
import errno
import os

import pytest

from bridge.tunnel import sftp as module
from bridge.tunnel.sftp import open_sftp
from tests.component.tunnel.talk import connected

MIB = 1024 * 1024


def on_files(run, sshd, scenario):
    async def main():
        async with connected(sshd) as (connection, _), await open_sftp(connection) as sftp:
            return await scenario(sftp)

    return run(main())


def test_a_folder_is_listed_with_what_is_in_it(run, sshd, tmp_path):
    (tmp_path / "plain").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere/at all")
    (tmp_path / b"\xff\n name".decode(errors="surrogateescape")).touch(mode=0o640)

    async def scenario(sftp):
        there = dict(await sftp.list_folder(bytes(tmp_path)))
        assert sorted(there) == [b"folder", b"link", b"plain", b"\xff\n name"]
        assert (there[b"plain"].is_file, there[b"plain"].size) == (True, 5)
        assert (there[b"folder"].is_folder, there[b"link"].is_link) == (True, True)
        assert there[b"\xff\n name"].mode & 0o777 == 0o640
        assert await sftp.read_link(bytes(tmp_path / "link")) == b"nowhere/at all"

    on_files(run, sshd, scenario)


def test_a_large_folder_is_listed_whole(run, sshd, tmp_path):
    names = {b"file %d" % number for number in range(1000)}
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()

    async def scenario(sftp):
        assert {name for name, _ in await sftp.list_folder(bytes(tmp_path))} == names

    on_files(run, sshd, scenario)


@pytest.mark.parametrize("size", [0, 1, module.PIECE - 1, module.PIECE, module.PIECE + 1, 9 * MIB + 7])
@pytest.mark.parametrize("known", [True, False])
def test_a_file_comes_as_it_is(run, sshd, tmp_path, size, known):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)

    async def scenario(sftp):
        got = bytearray()
        async for offset, piece in sftp.pieces(bytes(tmp_path / "file"), size if known else 0):
            assert offset == len(got)
            got += piece
        return bytes(got)

    assert on_files(run, sshd, scenario) == content


def test_many_are_asked_for_at_once(run, sshd, tmp_path):
    for number in range(200):
        (tmp_path / str(number)).write_text(f"content {number}")

    async def scenario(sftp):
        return await asyncio.gather(*(sftp.read(bytes(tmp_path / str(number))) for number in range(200)))

    assert on_files(run, sshd, scenario) == [b"content %d" % number for number in range(200)]


def test_errors_are_those_of_a_local_file(run, sshd, tmp_path):
    async def scenario(sftp):
        with pytest.raises(FileNotFoundError):
            await sftp.read(bytes(tmp_path / "missing"))
        with pytest.raises(FileNotFoundError):
            await sftp.list_folder(bytes(tmp_path / "missing"))
        with pytest.raises(OSError, match=r"Bad message|Failure") as caught:
            await sftp.read_link(bytes(tmp_path))
        assert caught.value.errno == errno.EIO
        assert (await sftp.attributes(bytes(tmp_path))).is_folder

    on_files(run, sshd, scenario)


def test_what_is_under_way_fails_when_it_ends(run, sshd, tmp_path):
    async def main():
        async with connected(sshd) as (connection, _):
            sftp = await open_sftp(connection)
            waiting = asyncio.ensure_future(sftp.list_folder(bytes(tmp_path)))
            await asyncio.sleep(0)
            connection.close()
            with pytest.raises(ConnectionError):
                await waiting
            with pytest.raises(ConnectionError):
                await sftp.read(bytes(tmp_path))

    run(main())


@pytest.mark.parametrize("left", [0, 5, module.PIECE, module.PIECE + 5])
def test_a_file_that_is_shorter_by_now_is_read_as_far_as_it_goes(run, sshd, tmp_path, left):
    content = os.urandom(left)
    (tmp_path / "file").write_bytes(content)

    async def scenario(sftp):
        return await sftp.read_opened(await sftp.open_file(bytes(tmp_path / "file")), 3 * module.PIECE)

    assert on_files(run, sshd, scenario) == content
