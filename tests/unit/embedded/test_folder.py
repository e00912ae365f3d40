"""A data folder has one user at a time, and only what `mnc up` made is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnc.embedded.folder import DataFolder, FolderInUseError, open_data_folder
from mnc.errors import ConfigError


def test_folder_is_made_and_ignored_by_git(tmp_path: Path) -> None:
    """The folder need not exist, and never gets into a commit."""
    with open_data_folder(tmp_path / "a" / "b", reset=False) as folder:
        assert (folder.path / ".gitignore").read_text() == "*\n"


def test_second_user_is_refused(tmp_path: Path) -> None:
    """While the folder is open nobody else can open it; the error names who has it."""
    with (
        open_data_folder(tmp_path, reset=False),
        pytest.raises(FolderInUseError) as refused,
        open_data_folder(tmp_path, reset=True),
    ):
        raise AssertionError
    assert str(os.getpid()) in refused.value.message
    with open_data_folder(tmp_path, reset=False):
        pass


def fill(folder: DataFolder) -> None:
    """Leave data as servers do."""
    for data_dir in (folder.mongod_dir, folder.nats_dir):
        data_dir.mkdir()
        (data_dir / "data").touch()
    folder.log_path.touch()


def test_reset_removes_the_data(tmp_path: Path) -> None:
    """`reset` removes the servers' data and the log, and without it they stay."""
    with open_data_folder(tmp_path, reset=False) as folder:
        fill(folder)
    with open_data_folder(tmp_path, reset=False) as folder:
        assert (folder.mongod_dir / "data").exists()
    with open_data_folder(tmp_path, reset=True) as folder:
        assert not folder.mongod_dir.exists()
        assert not folder.nats_dir.exists()
        assert not folder.log_path.exists()


@pytest.mark.parametrize("reset", [False, True])
def test_folder_of_others_is_left_alone(tmp_path: Path, *, reset: bool) -> None:
    """A folder with other things in it is neither used nor emptied."""
    (tmp_path / "mongod").mkdir()
    with pytest.raises(ConfigError) as refused, open_data_folder(tmp_path, reset=reset):
        raise AssertionError
    assert refused.value.setting == "--data-dir"
    assert [path.name for path in tmp_path.iterdir()] == ["mongod"]


def test_unusable_path_is_refused(tmp_path: Path) -> None:
    """A path that can't be a folder is told in a sentence."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match="can't use"),
        open_data_folder(tmp_path / "file", reset=False),
    ):
        raise AssertionError
