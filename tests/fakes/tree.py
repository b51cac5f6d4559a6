"""Files to copy from that lie in memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import PurePosixPath

from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.sources.trees import LayerTree

Files = Mapping[str, bytes | str | None]  # content; a text that begins with "-> " is a link, None a directory


def entries_of(files: Files) -> list[Entry]:
    """Their table of contents, directories on the way among them."""
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents if str(parent) != "."}
    found = []
    for name, content in {**dict.fromkeys(parents), **files}.items():
        if content is None:
            found.append(new_entry(name, "dir", 0o755))
        elif isinstance(content, str) and content.startswith("-> "):
            found.append(new_entry(name, "symlink", 0o777)._replace(link=content[3:]))
        else:
            data = content.encode() if isinstance(content, str) else content
            digest = hashlib.sha256(data).hexdigest()
            found.append(new_entry(name, "file", 0o644)._replace(size=len(data), digest=digest))
    return sorted(found, key=lambda entry: entry.path.split("/"))


def memory_tree(files: Files) -> LayerTree:
    """A SourceTree of them."""

    def opened(_: int, entry: Entry) -> io.BytesIO:
        content = files[entry.path]
        assert content is not None
        return io.BytesIO(content.encode() if isinstance(content, str) else content)

    return LayerTree([LayerIndex(entries_of(files))], opened)
