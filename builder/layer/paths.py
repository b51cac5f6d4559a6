"""Paths inside an image: walk symlinks without ever leaving the root."""

from __future__ import annotations

from collections.abc import Callable

from tiffin.builder.errors import ImageError

MAX_LINKS = 255  # the limit BuildKit and containerd use; the kernel's is 40
ROOT = "."


def resolve_links(
    path: str, link_text: Callable[[str], str | None], *, follow_last: bool = True, may_leave: bool = True
) -> str:
    """Follow the symlinks of `path` (relative to the root, "." for the root itself) inside the root.

    `link_text(path)` is the text of the symlink at a resolved path, None for anything else, there or not. ".." at the
    root stays there (without `may_leave` it is an ImageError); what does not exist is kept as it stands. Raises
    ImageError for too many links.
    """
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            if not done and not may_leave:
                raise ImageError(
                    f'"{path}" leads out of the destination by a symbolic link', remedy="unpack to where the link leads"
                )
            del done[-1:]
            continue
        text = link_text("/".join([*done, part])) if pending or follow_last else None
        if text is None:
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise ImageError(f'too many levels of symbolic links in "{path}"', remedy="remove the loop of links")
        if text.startswith("/"):
            done.clear()
        pending += [item for item in reversed(text.split("/")) if item not in ("", ".")]
    return "/".join(done) or ROOT
