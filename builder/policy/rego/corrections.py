"""What regopy 1.5 does otherwise than OPA: functions that answer wrongly have rules in their place, and what answers
nothing is refused by name, as a rule that uses it would decide without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiffin.builder.errors import UsageError
from tiffin.builder.policy.rego.rules_text import TEXT

PACKAGE = "tiffin_rules"  # no package of a policy is called so
# sprintf quotes texts that a rule holds itself; semver.compare takes 1.10.0 for less than 1.9.0
REPLACED = {"sprintf": "formatted", "semver.compare": "compared_versions"}
RULES = rf"""package {PACKAGE}

formatted(format, values) := sprintf(format, [json.unmarshal(json.marshal(value)) | some value in values])

compared_versions(a, b) := -1 if version_number(a) < version_number(b)
compared_versions(a, b) := 1 if version_number(a) > version_number(b)
compared_versions(a, b) := 0 if {{
    version_number(a) == version_number(b)
    before_release(a) == before_release(b)
}}
compared_versions(a, b) := -1 if {{
    version_number(a) == version_number(b)
    before_release(a) < before_release(b)
}}
compared_versions(a, b) := 1 if {{
    version_number(a) == version_number(b)
    before_release(a) > before_release(b)
}}

version_number(text) := number if {{
    pattern := `^(\d+)\.(\d+)\.(\d+)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$`
    found := regex.find_all_string_submatch_n(pattern, text, 1)[0]
    number := (((to_number(found[1]) * 1000000000) + to_number(found[2])) * 1000000000) + to_number(found[3])
}}

before_release(text) := "~" if not contains(without_build(text), "-")
before_release(text) := key if {{
    plain := without_build(text)
    contains(plain, "-")
    rest := substring(plain, indexof(plain, "-") + 1, -1)
    key := concat("#", [identifier_key(part) | part := split(rest, ".")[_]])
}}

without_build(text) := split(text, "+")[0]

identifier_key(text) := sprintf("0%020d", [to_number(text)]) if regex.match(`^\d+$`, text)
identifier_key(text) := concat("", ["1", text]) if not regex.match(`^\d+$`, text)
"""
MAX_AGE = "write max-age of [[images]] in TOML"
# functions of OPA (or all below a name) that regopy gives no value for
UNANSWERED = {
    "time.parse_rfc3339_ns": MAX_AGE,
    "time.parse_ns": MAX_AGE,
    "time.diff": MAX_AGE,
    "time.format": MAX_AGE,
    "strings.render_template": "use sprintf",
    "net.": "write that rule in TOML",
    "io.": "write that rule in TOML",
    "http.": "a policy fetches nothing: keep what it needs beside it, and load_json",
    "opa.": "take it out",
}
_SKIPPED = rf"(?P<skipped>{TEXT}|#[^\n]*)"
_FUNCTION = "|".join(re.escape(name) for name in REPLACED)
_CALL = re.compile(rf"{_SKIPPED}|(?<![\w.])(?P<name>{_FUNCTION})(?=\s*\()")
_FLAGS = re.compile(r"\(\?[imsUx-]+[:)]|\\[pP](?:\{|[A-Z])")
_PATTERN = re.compile(rf"(?<![\w.])regex\.\w+\s*\(\s*(?P<text>{TEXT})")


def corrected(text: str) -> str:
    """Return a module that calls our rules in the place of functions that answer wrongly."""
    return _CALL.sub(lambda found: found["skipped"] or f"data.{PACKAGE}.{REPLACED[found['name']]}", text)


def check(name: str, plain: str) -> None:
    """Raise UsageError for what regopy gives no value for in a module without comments."""
    for found in _calls(plain):
        for word, remedy in UNANSWERED.items():
            if found == word or (word.endswith(".") and found.startswith(word)):
                raise UsageError(f"{name} uses {found}, which regopy does not answer", remedy=remedy)
    for pattern in _PATTERN.finditer(plain):
        flags = _FLAGS.search(pattern["text"])
        if flags is not None:
            raise UsageError(
                f"{name} has the pattern {pattern['text']}: {flags[0]} is not known to regopy",
                remedy="write it without: [Aa], lower(…)",
            )


def _calls(plain: str) -> Iterator[str]:
    for found in re.finditer(rf"{_SKIPPED}|(?<![\w.])(?P<name>[a-z_]\w*(?:\.\w+)+)\s*\(", plain):
        if found["name"]:
            yield found["name"]
