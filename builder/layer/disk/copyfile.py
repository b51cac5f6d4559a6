"""Copy a file's content to disk: holes for long runs of zeros, the kernel's own copy where both ends are files."""

from __future__ import annotations

import errno
import io
import os

from tiffin.builder.layer.byte_streams import ByteReader

COPY_BYTES = 1 << 20
HOLE_BYTES = 1 << 16  # a shorter run of zeros saves less than the extent it breaks costs
KERNEL_COPY_BYTES = 1 << 18  # below, reading and writing is quicker than asking for extents
_ZEROS = bytes(HOLE_BYTES)
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


def copy_content(content: ByteReader, fd: int, size: int) -> int:
    """Copy `content` to the new file `fd`; returns the bytes copied, `size` exactly unless it ends early or late.

    What comes after `size` bytes is not copied, but makes the result `size + 1`.
    """
    if size >= KERNEL_COPY_BYTES and type(content) is io.FileIO:
        copied = _kernel_copy(content, fd, size)
        if copied is not None:
            return copied
    offset = 0
    while offset < size:
        data = content.read(min(size - offset, COPY_BYTES))
        if not data:
            return offset
        if len(data) < HOLE_BYTES:
            _write(fd, data, offset)
        else:
            _write_parts(fd, data, offset)
        offset += len(data)
    if size >= HOLE_BYTES:  # the end may be a hole
        os.truncate(fd, size)
    return size + len(content.read(1))


def _kernel_copy(source: io.FileIO, fd: int, size: int) -> int | None:
    """Copy extents with copy_file_range, which shares them where the file system can; None if it refuses at once."""
    start, here = source.tell(), source.fileno()
    if os.fstat(here).st_size - start != size:
        return os.fstat(here).st_size - start
    done = 0
    while done < size:
        try:
            data = os.lseek(here, start + done, os.SEEK_DATA)
            end = os.lseek(here, data, os.SEEK_HOLE)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            if done or exc.errno not in _NO_KERNEL_COPY:
                raise
            return None
        done = data - start
        while done < min(end - start, size):
            try:
                count = os.copy_file_range(here, fd, min(end - start, size) - done, start + done, done)
            except OSError as exc:
                if done == data - start and exc.errno in _NO_KERNEL_COPY:
                    source.seek(start)
                    return None
                raise
            if not count:
                return done
            done += count
    os.truncate(fd, size)
    return size


def _write_parts(fd: int, data: bytes, offset: int) -> None:
    """Write `data` but for the blocks of it that are zeros."""
    start = 0
    for position in range(0, len(data) - HOLE_BYTES + 1, HOLE_BYTES):
        if data[position] or data[position + HOLE_BYTES - 1] or not data.startswith(_ZEROS, position):
            continue
        if start < position:
            _write(fd, memoryview(data)[start:position], offset + start)
        start = position + HOLE_BYTES
    if start < len(data):
        _write(fd, memoryview(data)[start:], offset + start)


def _write(fd: int, data: bytes | memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count
