"""Build checks of instructions that need values, by BuildKit's names and with its wording; UndefinedVar is
StageScope's.
"""

from __future__ import annotations

import re
from functools import cache

from tiffin.builder.errors import Span
from tiffin.builder.instructions.base import StageScope

_SECRET = r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)"
_NOT_SECRET = r"(?:^|_)(?:public|file|version)(?:_|$)"


def names_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret, as BuildKit's checks have it."""
    secret, public = _secret_patterns()
    return bool(secret.search(name)) and not public.search(name)


def secret_name(scope: StageScope, keyword: str, name: str, span: Span) -> None:
    """Report an ARG or ENV whose name says that its value must not be in an image."""
    if names_secret(name):
        message = f'Do not use ARG or ENV instructions for sensitive data ({keyword} "{name}")'
        scope.planner.found("SecretsUsedInArgOrEnv", message, span)


def legacy_form(scope: StageScope, written: str, span: Span) -> None:
    """Report ENV or LABEL without an equals sign."""
    message = f'"{written} key=value" should be used instead of legacy "{written} key value" format'
    scope.planner.found("LegacyKeyValueFormat", message, span)


def shell_form(scope: StageScope, written: str, span: Span) -> None:
    """Report CMD or ENTRYPOINT for a shell that nobody chose."""
    if not scope.config.shell:
        message = f"JSON arguments recommended for {written} to prevent unintended behavior related to OS signals"
        scope.planner.found("JSONArgsRecommended", message, span)


def once(scope: StageScope, keyword: str, written: str, span: Span) -> None:
    """Report a CMD, ENTRYPOINT or HEALTHCHECK that a later one replaces."""
    before = scope.replaces(keyword, span)
    if before is not None:
        message = (
            f"Multiple {written} instructions should not be used in the same stage because only the last one will be"
            " used"
        )
        scope.planner.found("MultipleInstructionsDisallowed", message, before)


def relative_workdir(scope: StageScope, shown: str, span: Span) -> None:
    """Report a WORKDIR that is the first of its stage and relative."""
    message = f"Relative workdir {shown} can have unexpected results if the base image changes"
    scope.planner.found("WorkdirRelativePath", message, span)


def exposed_port(scope: StageScope, word: str, protocol: str, span: Span, *, mapped: bool) -> None:
    """Report an EXPOSE with capitals in the protocol, or with a part that is the host's."""
    if protocol != protocol.lower():
        message = f"Defined protocol '{word}' in EXPOSE instruction should be lowercase"
        scope.planner.found("ExposeProtoCasing", message, span)
    if mapped:
        message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
        scope.planner.found("ExposeInvalidFormat", message, span)


@cache
def _secret_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(_SECRET, re.IGNORECASE), re.compile(_NOT_SECRET, re.IGNORECASE)
