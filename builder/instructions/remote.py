"""Sources that lie on the network: http(s) URLs, and git repositories in BuildKit's notations."""

from __future__ import annotations

import re

from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.instructions.ops import GitOrigin
from tiffin.builder.options import switch

_SCP = r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^/].*"
_SCHEMES = ("git://", "ssh://")
_CONTEXT_SCHEMES = ("git+https://", "git+http://")  # for URLs of contexts that do not end in .git
_HTTP = ("http://", "https://")
_FORGE = r"github\.com/[^/]+/[^/#?]+.*"
_REPOSITORY = r"https?://[^#?]+\.git(?:[#?].*)?"
_QUERY_KEYS = (
    "ref", "tag", "branch", "commit", "checksum", "subdir", "keep-git-dir", "submodules",
)  # fmt: skip
_COMMIT = r"[0-9a-f]{7,64}"
UNNAMED = "__unnamed__"  # BuildKit's name for a URL without a path


def is_remote(text: str) -> bool:
    """Whether `text` names something on the network."""
    return is_http(text) or is_git(text)


def is_http(text: str) -> bool:
    """Whether `text` is an http(s) URL of a file."""
    return text.lower().startswith(_HTTP) and not is_git(text)


def is_git(text: str, *, context: bool = False) -> bool:
    """Whether `text` is a git repository; a build `context` may also be written github.com/OWNER/REPOSITORY."""
    lowered = text.lower()
    return (
        lowered.startswith(_SCHEMES)
        or (text.startswith(_HTTP) and re.fullmatch(_REPOSITORY, text) is not None)
        or ("@" in text and re.fullmatch(_SCP, text) is not None)
        or (context and (re.fullmatch(_FORGE, text) is not None or lowered.startswith(_CONTEXT_SCHEMES)))
    )


def filename_of(url: str) -> str:
    """Return what a file fetched from `url` is called."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path).rstrip("/").rsplit("/", 1)[-1] or UNNAMED


def parse_git(text: str, *, keep_git_dir: bool = False, checksum: str = "") -> GitOrigin:
    """Return `URL#REF:SUBDIR` or `URL?ref=…&subdir=…`. Raises UsageError for a contradiction or an unknown key."""
    url, _, fragment = text.removeprefix("git+").partition("#")
    ref, _, subdir = fragment.partition(":")
    if re.fullmatch(_FORGE, url):
        url = f"https://{url}"
    url, separator, query = url.partition("?")
    fields = _query(text, query) if separator else {}
    if fields and fragment:
        raise UsageError(f'"{text}" has both a fragment and a query', remedy="use one of them")
    refs = {fields[name] for name in ("ref", "tag", "branch") if name in fields}
    if len(refs) > 1:
        raise UsageError(f'"{text}" names several references', remedy="keep one of ref, tag, branch")
    for name, prefix in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if name in fields:
            refs = {prefix + fields[name]}
    commits = {value for value in (fields.get("commit"), fields.get("checksum"), checksum) if value}
    if len(commits) > 1:
        raise UsageError(f'"{text}" names several commits', remedy="keep one of commit, checksum")
    commit = commits.pop() if commits else ""
    if commit and not re.fullmatch(_COMMIT, commit):
        raise UsageError(f'"{commit}" is not a valid commit', remedy="give 7 to 64 hexadecimal digits")
    try:
        keep = switch(fields["keep-git-dir"]) if "keep-git-dir" in fields else keep_git_dir
        submodules = switch(fields["submodules"]) if "submodules" in fields else True
    except ValueError as exc:
        raise UsageError(f'"{exc}" in "{text}" is neither true nor false', remedy="write true or false") from exc
    return GitOrigin(
        url=url,
        ref=refs.pop() if refs else ref,
        subdir=fields.get("subdir", subdir).strip("/"),
        checksum=commit,
        keep_git_dir=keep,
        submodules=submodules,
    )


def _query(text: str, query: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    fields: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _QUERY_KEYS:
            raise UsageError(
                f'unexpected query key "{name}" in "{text}"',
                remedy=did_you_mean(name, _QUERY_KEYS) or f"the keys are {', '.join(_QUERY_KEYS)}",
            )
        if name in fields:
            raise UsageError(f'"{name}" is given twice in "{text}"', remedy="keep one of them")
        fields[name] = value
    return fields
