"""Real servers that hold shared caches, on loopback ports: Redis, nginx with WebDAV, endpoints of S3 and of Azure."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import free_port, serving

BUCKET = "layers"
AZURITE_ACCOUNT = "tiffin"
AZURITE_KEY = b64encode(b"a key of a test").decode()
S3_OPTIONS = "region=us-east-1,use_path_style=true,access_key_id=test,secret_access_key=test"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheServer:
    """A running server; `url` is its address, `data` where it keeps things (if that is a directory)."""

    url: str
    port: int
    data: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def running_redis(folder: Path, *words: str, port: int = 0) -> Iterator[CacheServer]:
    """redis-server without persistence; `words` are further options."""
    port = port or free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder))
    with _serving(["redis-server", *options, *words], folder, port) as process:
        yield CacheServer(url=f"redis://127.0.0.1:{port}/0", port=port, data=folder, process=process)


@contextlib.contextmanager
def running_nginx(folder: Path) -> Iterator[CacheServer]:
    """nginx that takes PUT."""
    port, data = free_port(), folder / "data"
    data.mkdir()
    data.chmod(0o777)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; {'user root;' if os.getuid() == 0 else ''}\n"
        "events {}\nhttp {\n  access_log off; client_max_body_size 0;\n"
        f"{temporary}  server {{ listen 127.0.0.1:{port}; root {data};\n"
        "    location / { dav_methods PUT DELETE; create_full_put_path on; }\n  }\n}\n"
    )
    with _serving(["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")], folder, port) as process:
        yield CacheServer(url=f"http://127.0.0.1:{port}/cache", port=port, data=data, process=process)


@contextlib.contextmanager
def running_s3(folder: Path) -> Iterator[CacheServer]:
    """moto's server, with one bucket."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _serving(argv, folder, port) as process:
        url = f"http://127.0.0.1:{port}"
        make = (
            "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', "
            "aws_access_key_id='test', aws_secret_access_key='test').create_bucket(Bucket=sys.argv[2])"
        )
        subprocess.run([sys.executable, "-c", make, url, BUCKET], check=True, capture_output=True)
        yield CacheServer(url=url, port=port, data=folder, process=process)


@contextlib.contextmanager
def running_azurite(folder: Path) -> Iterator[CacheServer]:
    """Azurite's blob service, with one account and its key."""
    port = free_port()
    argv = ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    environ = {**_environ(), "AZURITE_ACCOUNTS": f"{AZURITE_ACCOUNT}:{AZURITE_KEY}"}
    with serving([*argv, "--skipApiVersionCheck", "--disableTelemetry"], port, folder / "log", environ) as process:
        yield CacheServer(url=f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}", port=port, data=folder, process=process)


def upload(server: CacheServer, path: Path) -> str:
    """Put a file into the bucket; returns its s3:// address."""
    put = (
        "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', "
        "aws_access_key_id='test', aws_secret_access_key='test').upload_file(sys.argv[2], sys.argv[3], sys.argv[4])"
    )
    subprocess.run([sys.executable, "-c", put, server.url, str(path), BUCKET, path.name], check=True)
    return f"s3://{BUCKET}/{path.name}"


def _serving(argv: list[str], folder: Path, port: int) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return serving(argv, port, folder / "log", _environ())


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
