"""How bad something is: one word of six, from scores of CVSS or from the words of databases."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.cache.foundation.frozen import dataclass

UNKNOWN, NEGLIGIBLE, LOW, MEDIUM, HIGH, CRITICAL = "unknown", "negligible", "low", "medium", "high", "critical"
LEVELS = (UNKNOWN, NEGLIGIBLE, LOW, MEDIUM, HIGH, CRITICAL)
_WORDS = {  # of GitHub, Debian, Ubuntu, Red Hat
    "moderate": MEDIUM,
    "important": HIGH,
    "unimportant": NEGLIGIBLE,
    "none": NEGLIGIBLE,
    "minor": LOW,
    "not yet assigned": UNKNOWN,
    "end-of-life": UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Severity:
    """A level, and the score of CVSS behind it, None without one."""

    level: str = UNKNOWN
    score: float | None = None

    @property
    def rank(self) -> int:
        """Return a number that is higher the worse it is."""
        return LEVELS.index(self.level)


def severity_of(scores: Sequence[tuple[str, str]], words: Sequence[str]) -> Severity:
    """Return the worst of the scores; the word that a database chose decides, where there is one."""
    rated = [found for kind, text in scores if (found := _rated(kind, text)) is not None]
    worst = max(rated, key=lambda item: item.score or 0, default=Severity())
    for text in words:
        word = text.lower().strip("*").strip()
        level = word if word in LEVELS else _WORDS.get(word, UNKNOWN)
        if level != UNKNOWN:
            return Severity(level=level, score=worst.score)
    return worst


def _rated(kind: str, text: str) -> Severity | None:
    """Return what a vector of CVSS comes to; None for one that cannot be read."""
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    try:
        match kind:
            case "CVSS_V4":
                score = float(CVSS4(text).base_score)
            case "CVSS_V3":
                score = float(CVSS3(text).scores()[0])
            case "CVSS_V2":
                score = float(CVSS2(text).scores()[0])
            case _:
                return Severity(level=text.lower()) if text.lower() in LEVELS else None
    except (CVSSError, ValueError, TypeError):
        return None
    bounds = ((9.0, CRITICAL), (7.0, HIGH), (4.0, MEDIUM), (0.1, LOW))
    return Severity(level=next((level for bound, level in bounds if score >= bound), NEGLIGIBLE), score=score)
