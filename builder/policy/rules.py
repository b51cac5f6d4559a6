"""The rules of policies in TOML: each reads its value, and says of a subject what is wrong with it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from tiffin.builder.instructions.findings import names_secret
from tiffin.builder.options import size_bytes
from tiffin.builder.plain_text import size_text
from tiffin.builder.policy.facts import GIT, IMAGE, RESULT, URL, Contents, Evidence, Subject
from tiffin.builder.policy.names import matches
from tiffin.builder.policy.packages import denied_licenses, denied_packages, read_package
from tiffin.builder.settings.times import seconds_of
from tiffin.cache.foundation.frozen import dataclass

USER = "USER"  # where the lines of a result have its user
ROOT = r"(?:[+-]?0+|root)?"  # programs in Go read +0 as a number
LATEST = "latest"
SIGNED_BY, ATTESTED_BY = "signed-by", "attested-by"
_SECRET_VALUES = (  # forms of credentials that are recognized whatever the variable is called
    r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/:@\s]+:[^/@\s]+@"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is wrong, what to do; `line`: what in the Dockerfile it is about, as Subject.lines has it."""

    reason: str
    remedy: str
    line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """Which builders have to be in the provenance, as patterns, and by which keys that has to be signed."""

    builders: tuple[str, ...]
    keys: tuple[str, ...]


Check = Callable[[object, Subject, Callable[[], Evidence], Path], Answer | None]
_Row = tuple[str, str, str, Callable[[object], object], Check]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `example` is a value as it is written; with `needs_contents` it is about what an image is, not what it
    is called.
    """

    name: str
    about: str
    example: str
    read: Callable[[object], object]
    check: Check
    needs_contents: bool = False


# -- values ------------------------------------------------------------------------------------------------------------


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError("it is not a list of texts")
    return tuple(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it is neither true nor false")
    return value


def _size(value: object) -> int:
    try:
        return size_bytes(str(value))
    except ValueError:
        raise ValueError(f"{value} is not a size") from None


def _seconds(value: object) -> float:
    return seconds_of(str(value), "")


def _packages(value: object) -> tuple[object, ...]:
    return tuple(read_package(text) for text in _texts(value))


# -- images that come in -----------------------------------------------------------------------------------------------


def _registries(value: object, subject: Subject, *_: object) -> Answer | None:
    host = subject.reference.registry if subject.reference is not None else ""
    if not host or any(fnmatchcase(host, pattern) for pattern in _texts_of(value)):
        return None
    return Answer(
        reason=f"{host} is not among the registries {', '.join(_texts_of(value))}",
        remedy="use an image of one of these",
    )


def _names(value: object, subject: Subject, *_: object) -> Answer | None:
    if any(matches(pattern, subject) for pattern in _texts_of(value)):
        return None
    return Answer(reason=f"{subject.name} is not among {', '.join(_texts_of(value))}", remedy="use one of these")


def _deny(value: object, subject: Subject, *_: object) -> Answer | None:
    found = [pattern for pattern in _texts_of(value) if matches(pattern, subject)]
    return Answer(reason=f"{subject.name} is what {found[0]} denies", remedy="use another") if found else None


def _pinned(value: object, subject: Subject, *_: object) -> Answer | None:
    if not value or subject.checksum or subject.reference is None:
        return None
    return Answer(
        reason=f"{subject.name} has no digest", remedy=f"write {subject.name}@sha256:…, or use build --locked"
    )


def _no_latest(value: object, subject: Subject, *_: object) -> Answer | None:
    if not value or subject.reference is None or subject.reference.tag != LATEST or subject.checksum:
        return None
    return Answer(reason=f"{subject.name} means the tag latest", remedy="name a version")


def _signed_by(value: object, subject: Subject, evidence: Callable[[], Evidence], folder: Path) -> Answer | None:
    keys = [str(folder / key) for key in _texts_of(value)]
    reference = subject.reference
    if reference is not None and any(evidence().signed_by(reference, _contents(subject).digest, key) for key in keys):
        return None
    return Answer(
        reason=f"{subject.name} has no signature of {', '.join(_texts_of(value))}",
        remedy="have it signed with tiffin sign, or use another",
    )


def _attested_by(value: object, subject: Subject, evidence: Callable[[], Evidence], folder: Path) -> Answer | None:
    assert isinstance(value, Attested)
    found: dict[str, None] = {}
    for key in value.keys if subject.reference is not None else ():
        assert subject.reference is not None
        found |= dict.fromkeys(evidence().builders(subject.reference, _contents(subject).digest, str(folder / key)))
    if any(fnmatchcase(builder, pattern) for builder in found for pattern in value.builders):
        return None
    told = (
        f"is attested by {', '.join(found)}" if found else f"has no provenance that {', '.join(value.keys)} vouches for"
    )
    return Answer(
        reason=f"{subject.name} {told}, not by {', '.join(value.builders)}", remedy="use an image that is built there"
    )


def _max_size(value: object, subject: Subject, *_: object) -> Answer | None:
    size = _contents(subject).size_bytes
    if not isinstance(value, int) or size <= value:
        return None
    return Answer(reason=f"{subject.name} has {size_text(size)}, and {size_text(value)} are allowed", remedy="use less")


def _max_age(value: object, subject: Subject, *_: object) -> Answer | None:
    created = _contents(subject).config.created
    try:
        age = time.time() - datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
    except ValueError:
        age = time.time()
    if not isinstance(value, float | int) or age <= value:
        return None
    when = created[:10] or "an unknown day"
    return Answer(reason=f"{subject.name} is of {when}, older than {value / 86400:g} days", remedy="use a newer one")


# -- repositories and URLs ---------------------------------------------------------------------------------------------


def _https(value: object, subject: Subject, *_: object) -> Answer | None:
    if not value or not subject.name.lower().startswith(("http://", "git://")):
        return None
    return Answer(reason=f"{subject.name} is not encrypted", remedy="use https")


def _commit(value: object, subject: Subject, *_: object) -> Answer | None:
    if not value or len(subject.checksum) in (40, 64):
        return None
    return Answer(reason=f"{subject.name} names no commit", remedy="write #COMMIT, or use build --locked")


def _checksum(value: object, subject: Subject, *_: object) -> Answer | None:
    if not value or subject.checksum:
        return None
    return Answer(reason=f"{subject.name} has no checksum", remedy="add --checksum=sha256:…, or use build --locked")


# -- what is made ------------------------------------------------------------------------------------------------------


def _no_root(value: object, subject: Subject, *_: object) -> Answer | None:
    user = _contents(subject).config.config.user
    if not value or re.fullmatch(ROOT, user.partition(":")[0]) is None:
        return None
    return Answer(reason=f'the user is "{user or "root"}"', remedy="end with a USER that is not root", line=USER)


def _no_secrets(value: object, subject: Subject, *_: object) -> Answer | None:
    for item in _contents(subject).config.config.env if value else ():
        name, content = item.partition("=")[::2]
        if (content and names_secret(name)) or re.search(_SECRET_VALUES, content):
            return Answer(
                reason=f"the variable {name} looks like a secret",
                remedy="use RUN --mount=type=secret, or give it when the container runs",
                line=name,
            )
    return None


def _labels(value: object, subject: Subject, *_: object) -> Answer | None:
    missing = [name for name in _texts_of(value) if not _contents(subject).config.config.labels.get(name)]
    return Answer(reason=f"the label {missing[0]} is missing", remedy="add LABEL or --label") if missing else None


def _licenses(value: object, subject: Subject, *_: object) -> Answer | None:
    found = denied_licenses(_texts_of(value), _contents(subject).packages())
    return Answer(reason=found[0], remedy="leave the package out") if found else None


def _denied(value: object, subject: Subject, *_: object) -> Answer | None:
    found = denied_packages(value, _contents(subject).packages())
    return Answer(reason=found[0], remedy="update the package, or leave it out") if found else None


def _texts_of(value: object) -> tuple[str, ...]:
    assert isinstance(value, tuple)
    return value


def _contents(subject: Subject) -> Contents:
    assert subject.contents is not None
    return subject.contents


def _rows(*rows: _Row) -> tuple[_Row, ...]:
    return rows


TEXTS, SWITCH = '["…"]', "true"
_PATTERNS: tuple[Rule, ...] = (
    Rule(name="names", about="these alone, as patterns", example=TEXTS, read=_texts, check=_names),
    Rule(name="deny", about="none of these", example=TEXTS, read=_texts, check=_deny),
)
_REGISTRIES = Rule(name="registries", about="of these registries", example=TEXTS, read=_texts, check=_registries)
_NO_LATEST = Rule(name="no-latest", about="not by the tag latest", example=SWITCH, read=_flag, check=_no_latest)
_HTTPS = Rule(name="https", about="over TLS or SSH", example=SWITCH, read=_flag, check=_https)
_INSIDE: tuple[Rule, ...] = tuple(
    Rule(name=name, about=about, example=example, read=read, check=check, needs_contents=True)
    for name, about, example, read, check in _rows(
        ("max-size", "packed layers of that size at most", '"2g"', _size, _max_size),
        ("no-root", "a user that is not root", SWITCH, _flag, _no_root),
        ("no-secrets-in-env", "no variable that looks like a secret", SWITCH, _flag, _no_secrets),
        ("labels", "these labels", TEXTS, _texts, _labels),
        ("licenses-denied", "no package of these licenses", TEXTS, _texts, _licenses),
        ("packages-denied", "none of these packages", '["openssl<3.0.7", "log4j-core"]', _packages, _denied),
    )
)
_ORIGINS: tuple[Rule, ...] = tuple(
    Rule(name=name, about=about, example=example, read=read, check=check, needs_contents=True)
    for name, about, example, read, check in _rows(
        (SIGNED_BY, "with a signature of one of these keys", TEXTS, _texts, _signed_by),
        (
            ATTESTED_BY,
            "with a provenance of one of these builders, signed as signed-by says",
            TEXTS,
            _texts,
            _attested_by,
        ),
        ("max-age", "not older", '"90d"', _seconds, _max_age),
    )
)
_PINNED = Rule(name="pinned", about="with a digest", example=SWITCH, read=_flag, check=_pinned)
RULES: dict[str, tuple[Rule, ...]] = {
    IMAGE: (_REGISTRIES, *_PATTERNS, _PINNED, _NO_LATEST, *_ORIGINS, *_INSIDE),
    GIT: (
        *_PATTERNS,
        _HTTPS,
        Rule(name="commit", about="by a commit", example=SWITCH, read=_flag, check=_commit),
    ),
    URL: (
        *_PATTERNS,
        _HTTPS,
        Rule(name="checksum", about="with a checksum", example=SWITCH, read=_flag, check=_checksum),
    ),
    RESULT: (_REGISTRIES, *_PATTERNS, _NO_LATEST, *_INSIDE),
}
