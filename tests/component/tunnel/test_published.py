"""What the kubelet publishes, read from OpenSSH's SFTP server: whole, and of one moment."""

import shutil

import pytest

from bridge.tunnel.published import AT_ONCE, Published, Torn, read_published
from bridge.tunnel.sftp import PIECE, Sftp, open_sftp
from tests.component.tunnel.talk import connected


def publish(folder, name, content):
    """As the kubelet does it."""
    for path, text in content.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_text(text)
    (folder / name).mkdir(exist_ok=True)
    old = folder / "..data"
    before = old.readlink() if old.is_symlink() else None
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").rename(old)
    for top in {path.partition("/")[0] for path in content}:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    if before:
        shutil.rmtree(folder / before)


def read(run, sshd, folder, make=None):
    async def main():
        async with connected(sshd) as (connection, _):
            if make is None:
                async with await open_sftp(connection) as sftp:
                    return await read_published(sftp, bytes(folder))
            sftp = make()
            await connection.open_sftp(sftp)
            sftp.begin()
            async with sftp:
                return await read_published(sftp, bytes(folder))

    return run(main())


def contents(published):
    return {path: content.decode() for path, (_, content) in published.files.items()}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"app.yaml": "color: blue\n", "empty": ""},
        {"deep/er/key": "1", "deep/other": "2", "top": "3"},
        {f"key {number}": "x" * number for number in range(2 * AT_ONCE + 3)},
        {"large": "x" * 1_000_000},
    ],
    ids=["nothing", "a few", "folders", "many", "large"],
)
def test_it_is_read_as_it_is(run, sshd, tmp_path, content):
    publish(tmp_path, "..2026_1", content)
    found = read(run, sshd, tmp_path)
    assert contents(found) == content
    assert found.data == "..2026_1"
    assert found.links == {path.partition("/")[0]: f"..data/{path.partition('/')[0]}" for path in content}
    assert sorted(found.folders) == (["deep", "deep/er"] if "deep/other" in content else [])
    assert found.unreadable == {}


def test_a_folder_of_another_kind_is_none(run, sshd, tmp_path):
    (tmp_path / "file").write_text("x")
    assert read(run, sshd, tmp_path) is None
    assert read(run, sshd, tmp_path / "file") is None


class Changing(Sftp):
    """Has the kubelet publish something new each time that files are opened, ``times`` times."""

    def __init__(self, folder, times):
        super().__init__()
        self.folder = folder
        self.times = times

    async def open_file(self, path):
        handle = await super().open_file(path)
        if self.times:
            self.times -= 1
            publish(self.folder, f"..2026_new_{self.times}", {"a": f"new {self.times}", "b": f"new {self.times}"})
        return handle


def test_a_change_in_the_middle_is_noticed_and_it_is_read_anew(run, sshd, tmp_path):
    publish(tmp_path, "..2026_1", {"a": "old", "b": "old"})
    found = read(run, sshd, tmp_path, lambda: Changing(tmp_path, 1))
    assert contents(found) == {"a": "new 0", "b": "new 0"}
    assert found.data == "..2026_new_0"


class ChangingBefore(Changing):
    """The same, a moment earlier: what is opened then is not what was listed."""

    async def open_file(self, path):
        if self.times:
            self.times -= 1
            publish(self.folder, "..2026_new", {"a": "", "b": "new"})
        return await super().open_file(path)


def test_files_that_become_shorter_between_the_listing_and_the_opening_are_read_anew(run, sshd, tmp_path):
    publish(tmp_path, "..2026_1", {"a": "old", "b": "x" * 3 * PIECE})
    found = read(run, sshd, tmp_path, lambda: ChangingBefore(tmp_path, 1))
    assert contents(found) == {"a": "", "b": "new"}
    assert found.data == "..2026_new"


def test_one_that_never_rests_is_said_to_be_torn(run, sshd, tmp_path):
    publish(tmp_path, "..2026_1", {"a": "old", "b": "old"})
    with pytest.raises(Torn):
        read(run, sshd, tmp_path, lambda: Changing(tmp_path, 1000))


def test_what_is_published_is_not_shown_where_it_is_printed(run, sshd, tmp_path):
    publish(tmp_path, "..2026_1", {"password": "hunter2"})
    found = read(run, sshd, tmp_path)
    assert isinstance(found, Published)
    assert "hunter2" not in repr(found)
