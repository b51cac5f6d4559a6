"""Make a zip application: a start script and the packages in one stored archive. `make.py FOLDER TARGET`."""

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)


def main(folder: Path, target: Path) -> None:
    """Write `target`, the same bytes for the same files."""
    packages = packed(folder)
    script = Path(__file__).with_name("__main__.py").read_text(encoding="utf-8")
    made_for = f"{sys.implementation.cache_tag}-{os.uname().machine}"
    script = script.replace("@IDENTITY@", hashlib.sha256(packages).hexdigest()[:16]).replace("@PYTHON@", made_for)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", EPOCH), script)
        archive.writestr(zipfile.ZipInfo("packages.zip", EPOCH), packages)
    target.write_bytes(SHEBANG + stream.getvalue())
    target.chmod(0o755)


def packed(folder: Path) -> bytes:
    """Return a compressed zip of all files below `folder`, in order, without compiled code."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(folder).as_posix()
                archive.writestr(zipfile.ZipInfo(name, EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


main(Path(sys.argv[1]), Path(sys.argv[2]))
