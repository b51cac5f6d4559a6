"""A shared cache in S3 or anything that speaks it: rows in PREFIXac/, blobs in PREFIXcas/. Needs boto3 (tiffin[s3]).

Credentials come from where boto3 looks for them (environment, files, the role of the machine), or from the options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from tiffin.cache.errors import UsageError
from tiffin.cache.shared.batch import PARALLEL_ROWS, answer, batch_key, read_rows
from tiffin.cache.shared.clients import PerProcess
from tiffin.cache.shared.protocol import MAX_ROW_BYTES, SharedStore, StoreOptions, UnavailableError
from tiffin.cache.shared.stall import MinimumRateReader
from tiffin.cache.shared.stores.http import place_of
from tiffin.cache.store.snapshots import BlobRef

CLIENT_OPTIONS = {  # what boto3 calls them
    "region": "region_name",
    "endpoint_url": "endpoint_url",
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}
SCHEME = "s3://"
CONTEXT_NAME = "context.tar.gz"  # Kaniko's, where a bucket alone is named
OBJECT_SECONDS = 30.0  # without progress
_ABSENT = ("404", "NoSuchKey", "NotFound")


class S3Store(SharedStore):
    """The rows and blobs of one bucket. `options` go to boto3's client."""

    name = "s3"
    keeps_answers = True

    def __init__(
        self, bucket: str, *, prefix: str, timeout_seconds: float, path_style: bool, options: Mapping[str, str]
    ) -> None:
        endpoint = options.get("endpoint_url", "")
        self.place = f"{place_of(endpoint)}/{bucket}/{prefix}" if endpoint else f"s3://{bucket}/{prefix}"
        self._bucket = bucket
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._path_style = path_style
        self._options = dict(options)
        self._client: PerProcess[Any] = PerProcess(self._make)

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return one request where a builder stored the answer to this question, else one for each row, many at a
        time.
        """
        return read_rows(names, self._read)

    def write_answer(self, names: Sequence[str], rows: Mapping[str, bytes]) -> None:
        """Keep the answer to one question as one object."""
        self._ask("put_object", f"ac/{batch_key(names)}", Body=answer(names, rows))

    def write(self, rows: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            list(pool.map(lambda item: self._ask("put_object", f"ac/{item[0]}", Body=item[1]), rows.items()))

    def known(self, names: Sequence[str]) -> frozenset[str]:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            there = pool.map(lambda name: self._ask("head_object", f"ac/{name}") is not None, names)
            return frozenset(name for name, found in zip(names, there, strict=True) if found)

    def has_blob(self, ref: BlobRef) -> bool:
        return self._ask("head_object", _blob(ref)) is not None

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        return self.read_object(_blob(ref))

    def read_object(self, path: str) -> BinaryIO | None:
        """Return any object, None where there is none. Raises UnavailableError."""
        answer = self._ask("get_object", path)
        if answer is None:
            return None
        body = answer["Body"]
        return cast(BinaryIO, MinimumRateReader(body._raw_stream, body.close, self._timeout))

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        """Write in parts where the blob is large, as boto3 does it."""
        with open_blob() as stream:
            self._try(lambda: self._client.get().upload_fileobj(stream, self._bucket, self._prefix + _blob(ref)))
        return True

    def _read(self, name: str) -> bytes | None:
        answer = self._ask("get_object", f"ac/{name}")
        if answer is None:
            return None
        data: bytes = self._try(lambda: answer["Body"].read(MAX_ROW_BYTES + 1))
        return data

    def _ask(self, method: str, path: str, **more: object) -> Any:
        """Return the answer, or None where there is no such object."""
        client = self._client.get()
        return self._try(lambda: getattr(client, method)(Bucket=self._bucket, Key=self._prefix + path, **more))

    def _try(self, act: Callable[[], Any]) -> Any:
        """Raise UnavailableError; None for what is absent."""
        import boto3.exceptions
        import botocore.exceptions

        try:
            return act()
        except botocore.exceptions.ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                return None
            raise UnavailableError(f"it refused the request ({code})", remedy="check bucket and credentials") from exc
        except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as exc:
            raise UnavailableError("credentials are missing", remedy="set AWS_ACCESS_KEY_ID and …") from exc
        except (botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error, OSError) as exc:
            raise UnavailableError("the connection failed", remedy="check endpoint_url and region") from exc

    def _make(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as exc:
            raise UsageError("S3 needs the package boto3", remedy="pip install tiffin[s3]") from exc
        import botocore.exceptions

        config = Config(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            retries={"total_max_attempts": 2},
            max_pool_connections=PARALLEL_ROWS,
            s3={"addressing_style": "path"} if self._path_style else None,
        )
        try:
            return boto3.session.Session().client("s3", config=config, **self._options)
        except (botocore.exceptions.BotoCoreError, ValueError) as exc:
            raise UnavailableError("region or endpoint_url is missing or wrong", remedy="add region=") from exc


def open_store(options: StoreOptions) -> S3Store:
    """Return the store that options describe."""
    given = options.options
    return S3Store(
        options.place,
        prefix=given.get("prefix", ""),
        timeout_seconds=options.timeout_seconds,
        path_style=given.get("use_path_style") == "true",
        options={name: given[option] for option, name in CLIENT_OPTIONS.items() if option in given},
    )


def open_object(url: str, environ: Mapping[str, str]) -> BinaryIO:
    """Return an object by its s3://BUCKET/KEY; $S3_ENDPOINT and $S3_FORCE_PATH_STYLE are Kaniko's.

    Raises UnavailableError, UsageError where boto3 is missing.
    """
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    store = S3Store(
        bucket,
        prefix="",
        timeout_seconds=OBJECT_SECONDS,
        path_style=environ.get("S3_FORCE_PATH_STYLE") == "true",
        options={"endpoint_url": environ["S3_ENDPOINT"]} if environ.get("S3_ENDPOINT") else {},
    )
    found = store.read_object(key or CONTEXT_NAME)
    if found is None:
        raise UnavailableError(f"{url} is not there", remedy="name an object that exists")
    return found


def _blob(ref: BlobRef) -> str:
    return f"cas/{ref.digest.hex}"
