"""A blob is read while it is fetched, and what was read counts only if the fetch went well."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from tiffin.builder.errors import CorruptError, RegistryError, StoreError
from tiffin.builder.image.streaming_fetch import FetchObserver, StreamingFetch

TIMEOUT_SECONDS = 20


def read_all(stream: BinaryIO) -> bytes:
    return b"".join(iter(lambda: stream.read(4), b""))


def test_bytes_are_read_before_the_fetch_has_ended(tmp_path: Path) -> None:
    growing, first_read = tmp_path / "growing", threading.Event()

    def fetch(follower: FetchObserver) -> None:
        with growing.open("wb", buffering=0) as stream:
            follower.begun(growing)
            stream.write(b"first")
            follower.progressed()
            assert first_read.wait(TIMEOUT_SECONDS), "what had arrived was not read"
            stream.write(b"second")
            follower.progressed()
        growing.rename(tmp_path / "finished")

    with StreamingFetch(fetch, tmp_path / "finished") as stream:
        assert stream.read(5) == b"first"
        first_read.set()
        assert read_all(stream) == b"second"


def test_a_blob_that_another_process_brought_is_read_from_its_place(tmp_path: Path) -> None:
    (tmp_path / "finished").write_bytes(b"there")
    with StreamingFetch(lambda follower: None, tmp_path / "finished") as stream:
        assert read_all(stream) == b"there"


def test_a_file_that_got_its_final_name_before_it_was_opened(tmp_path: Path) -> None:
    def fetch(follower: FetchObserver) -> None:
        follower.begun(tmp_path / "gone")
        (tmp_path / "finished").write_bytes(b"there")

    with StreamingFetch(fetch, tmp_path / "finished") as stream:
        assert read_all(stream) == b"there"


@pytest.mark.parametrize("begins", [True, False])
def test_the_error_of_the_fetch_is_told_not_what_it_led_to(tmp_path: Path, begins: bool) -> None:
    def fetch(follower: FetchObserver) -> None:
        if begins:
            (tmp_path / "growing").write_bytes(b"half")
            follower.begun(tmp_path / "growing")
        raise RegistryError("the registry went away", remedy="")

    with (
        pytest.raises(RegistryError, match="went away"),
        StreamingFetch(fetch, tmp_path / "finished") as stream,
        pytest.raises(StoreError, match="did not arrive"),
    ):
        read_all(stream)


def test_content_that_was_consumed_before_it_turned_out_wrong_is_an_error(tmp_path: Path) -> None:
    def fetch(follower: FetchObserver) -> None:
        (tmp_path / "growing").write_bytes(b"wrong")
        follower.begun(tmp_path / "growing")
        raise CorruptError("wrong digest", remedy="")

    with pytest.raises(CorruptError, match="wrong digest"), StreamingFetch(fetch, tmp_path / "finished") as stream:
        assert stream.read(5) == b"wrong"


def test_a_second_attempt_is_told(tmp_path: Path) -> None:
    def fetch(follower: FetchObserver) -> None:
        for _ in range(2):
            (tmp_path / "growing").write_bytes(b"x")
            follower.begun(tmp_path / "growing")

    arriving = StreamingFetch(fetch, tmp_path / "finished")
    with arriving as stream:
        read_all(stream)
    assert arriving.restarted


def test_an_interrupt_of_the_reader_ends_the_fetch(tmp_path: Path) -> None:
    ended = threading.Event()

    def fetch(follower: FetchObserver) -> None:
        (tmp_path / "growing").write_bytes(b"x")
        follower.begun(tmp_path / "growing")
        try:
            for _ in range(TIMEOUT_SECONDS * 100):
                follower.progressed()
                ended.wait(0.01)
        except InterruptedError:
            ended.set()
            raise

    with contextlib.suppress(KeyboardInterrupt), StreamingFetch(fetch, tmp_path / "finished") as stream:
        stream.read(1)
        raise KeyboardInterrupt
    assert ended.is_set()
