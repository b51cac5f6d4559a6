"""Packages and licenses that a policy denies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from tiffin.builder.policy.facts import Package
from tiffin.cache.foundation.frozen import dataclass

_FORM = r"(?:(?P<kind>[a-z]+)/)?(?P<name>[^<>=\s]+?)\s*(?:(?P<sign><=|>=|<|>|=)\s*(?P<version>\S+))?"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRule:
    """`[KIND/]NAME[<VERSION]`."""

    text: str
    kind: str
    name: str
    sign: str
    version: str

    def fits(self, package: Package) -> bool:
        """Whether a package is what is meant."""
        if (self.kind and self.kind != package.kind) or not fnmatchcase(package.name, self.name):
            return False
        order = _compare(package.version, self.version) if self.sign else 0
        return {"": True, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0, "=": order == 0}[
            self.sign
        ]


def read_package(text: str) -> PackageRule:
    """Parse it. Raises ValueError."""
    match = re.fullmatch(_FORM, text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a package')
    fields = {name: value or "" for name, value in match.groupdict().items()}
    return PackageRule(text=text, **fields)


def denied_packages(rules: object, packages: Sequence[Package]) -> list[str]:
    """Return what is said of packages that are denied."""
    assert isinstance(rules, tuple)
    return [
        f"{package.name} {package.version} is what {rule.text} denies{_where(package)}"
        for package in packages
        for rule in rules
        if rule.fits(package)
    ]


def denied_licenses(patterns: Sequence[str], packages: Sequence[Package]) -> list[str]:
    """Return what is said of packages with a license that is denied, in any part of its expression."""
    return [
        f"{package.name} {package.version} has the license {license}, which {pattern} denies{_where(package)}"
        for package in packages
        for license in package.licenses
        for pattern in patterns
        if any(fnmatchcase(word.lower(), pattern.lower()) for word in re.split(r"[\s()]+", license) if word)
    ]


def _where(package: Package) -> str:
    return f" ({package.line})" if package.line else ""


def _compare(left: str, right: str) -> int:
    """Compare versions as Debian does: digits as numbers, `~` before everything, an epoch first.

    Others order the usual forms alike.
    """
    first, second = _parts(left), _parts(right)
    return (first > second) - (first < second)


def _parts(version: str) -> list[tuple[int, int, str]]:
    epoch, separator, rest = version.partition(":")
    if not separator:
        epoch, rest = "0", version
    found = [(1, int(epoch) if epoch.isdigit() else 0, "")]
    for digits, tilde, letters in re.findall(r"(\d+)|(~)|([A-Za-z]+)|[^~\dA-Za-z]+", rest):
        if digits:
            found.append((3, int(digits), ""))
        elif tilde:
            found.append((0, 0, ""))
        elif letters:
            found.append((2, 0, letters))
    return [*found, (1, 0, "")]
