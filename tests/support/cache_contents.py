"""What a shared cache of any kind holds, to look at and to damage: behind its back, as failing disks and strangers
do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from tests.support.cache_servers import BUCKET
from tiffin.builder.image.cache_image import EMBEDDED


class Contents(Protocol):
    """Rows and blobs by the name the store gives them."""

    def rows(self) -> Iterator[str]: ...

    def blobs(self) -> Iterator[str]: ...

    def get(self, name: str) -> bytes: ...

    def put(self, name: str, data: bytes) -> None: ...


class FileContents:
    """Files below a folder: of a directory, of nginx."""

    def __init__(self, rows: Path, blobs: Path, pattern: str) -> None:
        self._rows = rows
        self._blobs = blobs
        self._pattern = pattern

    def rows(self) -> Iterator[str]:
        yield from (os.fspath(path) for path in sorted(self._rows.rglob("*")) if path.is_file())

    def blobs(self) -> Iterator[str]:
        yield from (name for name in self.all() if not self.get(name).startswith(b"{"))

    def all(self) -> list[str]:
        return [os.fspath(path) for path in sorted(self._blobs.glob(self._pattern)) if path.is_file()]

    def get(self, name: str) -> bytes:
        return Path(name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        Path(name).write_bytes(data)


class RegistryContents(FileContents):
    """Of a registry, whose rows are one document among its blobs, and a copy of it in the manifest."""

    def __init__(self, blobs: Path) -> None:
        super().__init__(blobs, blobs, "*/*/data")

    def rows(self) -> Iterator[str]:
        for name in self.all():
            data = self.get(name)
            if data.startswith(b'{"records"') or EMBEDDED.encode() in data:
                yield name


class RedisContents:
    """The keys of one Redis."""

    def __init__(self, url: str) -> None:
        import redis

        self._client = redis.Redis.from_url(url)

    def rows(self) -> Iterator[str]:
        return self._names("tiffin:step:*")

    def blobs(self) -> Iterator[str]:
        return self._names("tiffin:blob:*")

    def _names(self, pattern: str) -> Iterator[str]:
        yield from sorted(key.decode() for key in self._client.scan_iter(pattern))

    def get(self, name: str) -> bytes:
        value = self._client.get(name)
        assert isinstance(value, bytes)
        return value

    def put(self, name: str, data: bytes) -> None:
        self._client.set(name, data)


class S3Contents:
    """The objects below a prefix."""

    def __init__(self, url: str, prefix: str) -> None:
        import boto3

        self._client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self._prefix = prefix

    def rows(self) -> Iterator[str]:
        return self._names("ac/")

    def blobs(self) -> Iterator[str]:
        return self._names("cas/")

    def _names(self, folder: str) -> Iterator[str]:
        found = self._client.list_objects_v2(Bucket=BUCKET, Prefix=self._prefix + folder)
        yield from (item["Key"] for item in found.get("Contents", ()))

    def get(self, name: str) -> bytes:
        data: bytes = self._client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        return data

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=name, Body=data)


def damage(contents: Contents, kind: str) -> Callable[[], None]:
    """Damage everything of one kind; what is returned mends it."""
    names = [*(contents.blobs() if kind in BLOB_DAMAGES else contents.rows())]
    assert names, "nothing is there to damage"
    before = {name: contents.get(name) for name in names}
    change = {**BLOB_DAMAGES, **ROW_DAMAGES}[kind]
    for name, data in before.items():
        contents.put(name, change(data))

    def mend() -> None:
        for name, data in before.items():
            contents.put(name, data)

    return mend


BLOB_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "wrong bytes": lambda data: b"x" * len(data),
    "truncated layer": lambda data: data[: len(data) // 2],
    "longer layer": lambda data: data + b"x",
}
ROW_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated record": lambda data: data[:-9],
    # also of rows in a document; of a manifest the rows are packed
    "foreign schema": lambda data: re.sub(rb'(schema\\*":)\d+', rb"\g<1>999", data).replace(EMBEDDED.encode(), b"x"),
    "no record at all": lambda data: b"<html>",
}
