"""Programs docker-credential-NAME, which keep credentials for others."""

from __future__ import annotations

import json
import re
import subprocess

from tiffin.builder.errors import UnauthorizedError
from tiffin.builder.programs import find_program
from tiffin.builder.registry.auth.credentials import RegistryCredentials

HELPER_TIMEOUT_SECONDS = 60
TOKEN_USER = "<token>"  # a user name that says the secret is an identity token
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NOTHING = ("not found", "credentials not found", "no credentials")  # in what a helper says that has none


def get(helper: str, key: str, search_path: str) -> RegistryCredentials | None:
    """Return what a helper has for a registry; None if that is nothing. Raises UnauthorizedError."""
    answer = run(helper, "get", key, search_path)
    if answer is None:
        return None
    try:
        document = json.loads(answer)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnauthorizedError(
            f"docker-credential-{helper} gave an unreadable answer", remedy="check the helper, or remove it"
        ) from None  # nothing of it may be told
    if username == TOKEN_USER:
        return RegistryCredentials(identity_token=secret) if secret else None
    return RegistryCredentials(username=username, password=secret) if username else None


def run(helper: str, verb: str, text: str, search_path: str) -> str | None:
    """Run a helper; None when it has no credentials. It is never looked up in the current directory."""
    program = find_program(f"docker-credential-{helper}", search_path) if _NAME.fullmatch(helper) else ""
    if not program:
        raise UnauthorizedError(
            f"docker-credential-{helper} is not installed", remedy="install it, or remove it from config.json"
        )
    try:
        done = subprocess.run(
            [program, verb],
            input=text.encode(),
            capture_output=True,
            timeout=HELPER_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        reason = "it took too long" if isinstance(exc, subprocess.TimeoutExpired) else exc.strerror
        raise UnauthorizedError(f"docker-credential-{helper} failed: {reason}", remedy="run it by hand") from exc
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode == 0:
        return said
    if verb == "get" and any(words in said.lower() for words in _NOTHING):
        return None
    lines = (said if verb == "get" and said.strip() else done.stderr.decode("utf-8", "replace")).strip().splitlines()
    raise UnauthorizedError(
        f"docker-credential-{helper} failed: {lines[0][:200] if lines else done.returncode}", remedy="run it by hand"
    )
