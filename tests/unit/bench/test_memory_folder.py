"""The quick tests lie in memory where that does all that a disk does, and else on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import memory_folder


@pytest.mark.parametrize("place", ["/proc", "/nonexistent"])
def test_a_folder_that_takes_no_files_will_not_do(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert memory_folder.main([place]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("lack", ["attributes", "lists", "programs", "room"])
def test_what_tests_need_is_tried(
    lack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def setxattr(folder: str, name: str, value: bytes) -> None:
        tried.append(name)
        if name.startswith({"attributes": "user.", "lists": "system."}.get(lack, "none")):
            raise OSError(95, "Operation not supported")

    def statvfs(folder: str) -> os.statvfs_result:
        free = 100 if lack == "room" else 1 << 30
        return os.statvfs_result((1, 1, free, free, free, 9, 9, 9, os.ST_NOEXEC if lack == "programs" else 0, 255))

    monkeypatch.setattr(os, "setxattr", setxattr)
    monkeypatch.setattr(os, "statvfs", statvfs)
    assert memory_folder.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "" and tried and os.listdir(tmp_path) == []
    lack = "nothing"
    assert memory_folder.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"
