"""SBOMs of builds: tiffin's own, and those that an image makes by BuildKit's protocol."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Run
from tests.support.software_files import status_paragraph

Make = Callable[..., Path]
SCANNER = r"""#!/bin/sh
set -e
test "$BUILDKIT_SCAN_DEPTH" = "a b"
! touch $BUILDKIT_SCAN_SOURCE/x 2>/dev/null
touch /tmp/ok
count=$(grep -c ^Package: $BUILDKIT_SCAN_SOURCE/var/lib/dpkg/status)
echo "{\"spdxVersion\": \"SPDX-2.3\", \"comment\": \"$count packages\"}" > "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
"""


def predicates(archive: Path) -> list[dict[str, Any]]:
    """The predicates of the statements in an archive with an OCI layout."""
    with tarfile.open(archive) as opened:
        texts = [opened.extractfile(item) for item in opened.getmembers() if item.name.startswith("blobs/")]
        documents = [stream.read() for stream in texts if stream is not None]
    statements = [json.loads(text) for text in documents if text.startswith(b'{"_type"')]
    assert all(item["predicateType"] == "https://spdx.dev/Document" for item in statements)
    return [item["predicate"] for item in statements]


def test_a_build_tells_what_is_in_its_image(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    text = f"FROM {base}\nCOPY more /more\nCOPY status /var/lib/dpkg/status\nRUN cat /more >>/var/lib/dpkg/status\n"
    folder = context(text, status=status_paragraph("a", "1"), more=status_paragraph("b", "2"))
    words = ["build", "--sbom=true", "-t", "app", "-o", f"type=oci,dest={tmp_path}/app.tar", "-o", "type=image"]
    for _ in range(2):
        tiffin(*words, str(folder))
        [document] = predicates(tmp_path / "app.tar")
        told = {row["name"]: row for row in document["packages"]}
        assert "Dockerfile:3" in told["a"]["annotations"][0]["comment"]
        assert "Dockerfile:4" in told["b"]["annotations"][0]["comment"]
    assert "Dockerfile:4" in tiffin("sbom", "--by-line", "app").stdout
    assert "b" in tiffin("sbom", str(tmp_path / "app.tar")).stdout


def test_an_image_scans_what_was_built(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    scanner = context(f'FROM {base}\nCOPY --chmod=755 scan /scan\nCMD ["/scan"]\n', "scanner", scan=SCANNER)
    tiffin("build", "-t", "scanner:1", str(scanner))
    folder = context(f"FROM {base}\nCOPY status /var/lib/dpkg/status\n", status=status_paragraph("a", "1"))
    words = ["--sbom=generator=scanner:1,DEPTH=a b", "-o", f"type=oci,dest={tmp_path}/app.tar"]
    tiffin("build", *words, str(folder))
    [document] = predicates(tmp_path / "app.tar")
    assert document["comment"] == "1 packages"
