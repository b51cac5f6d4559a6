"""Which policies apply, and which audit log: flags, variables, the configuration file, and Dockerfile.rego."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, switch
from tiffin.builder.policy.audit import AuditLog
from tiffin.builder.policy.facts import Judge
from tiffin.builder.settings.access import AUDIT_VARIABLE, POLICY_VARIABLE, RegistryAccess, config_path
from tiffin.builder.settings.config_file import table_of
from tiffin.cache.foundation.frozen import dataclass

FILES, AUDIT_LOG = MEMBERS = ("files", "audit-log")  # of [policy]
REGO_SUFFIX = ".rego"
FIELDS = ("filename", "reset", "disabled", "strict", "log-level")  # of buildx's --policy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flags:
    """What --policy says. `resets`: no Dockerfile.rego; `disabled`: none of the line and none beside the Dockerfile."""

    files: tuple[str, ...] = ()
    resets: bool = False
    disabled: bool = False
    strict: bool = False


def judges(environ: Mapping[str, str], access: RegistryAccess, dockerfile: Path | None = None) -> tuple[Judge, ...]:
    """Return all policies that have to be kept to. Raises UsageError for one that cannot be read.

    Those of the machine ($TIFFIN_POLICY, the configuration file) no flag takes away.
    """
    flags = _flags(access.policies)
    files = [name for name in environ.get(POLICY_VARIABLE, "").split(",") if name]
    files += _configured(environ)
    if not flags.disabled:
        files += flags.files
        beside = None if dockerfile is None else dockerfile.with_name(dockerfile.name + REGO_SUFFIX)
        if beside is not None and not flags.resets and beside.is_file():
            files.append(str(beside))
    if flags.strict and not files:
        raise UsageError("--policy strict=true: there is no policy", remedy="name one with filename=FILE")
    return tuple(_judge(Path(name)) for name in dict.fromkeys(files))


def audit_log(environ: Mapping[str, str], access: RegistryAccess) -> AuditLog | None:
    """Return the log to add to, if there is one."""
    path = config_path(environ)
    configured = table_of(path, "policy").get(AUDIT_LOG, "") if path is not None else ""
    name = access.audit_log or environ.get(AUDIT_VARIABLE, "") or configured
    if not isinstance(name, str):
        raise UsageError(f"{path}: policy.audit-log is not a text", remedy='write audit-log = "FILE"')
    return AuditLog(Path(name).absolute()) if name else None


def _configured(environ: Mapping[str, str]) -> list[str]:
    path = config_path(environ)
    table = table_of(path, "policy") if path is not None else {}
    files = table.get(FILES, [])
    unknown = [name for name in table if name not in MEMBERS]
    if unknown or not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        what = f"policy.{unknown[0]}" if unknown else "policy.files"
        raise UsageError(f"{path}: {what} is not understood", remedy='write files = ["…"] and audit-log = "…"')
    return files


def _flags(texts: tuple[str, ...]) -> _Flags:
    files, switches = [], dict.fromkeys(FIELDS[1:4], False)
    for text in texts:
        if "=" not in text:
            files.append(text)
            continue
        try:
            for name, value in csv_pairs(text):
                if name == FIELDS[0] and value:
                    files.append(value)
                elif name in switches:
                    switches[name] = switch(value or "")
                elif name not in FIELDS:
                    raise ValueError(name)
        except (ValueError, KeyError) as exc:
            raise UsageError(
                f"--policy {text} is not understood ({exc})", remedy=f"the fields are {', '.join(FIELDS)}"
            ) from exc
    if switches["disabled"] and (files or switches["reset"] or switches["strict"]):
        raise UsageError("--policy disabled=true excludes other policies", remedy="give it alone")
    return _Flags(
        files=tuple(files), resets=switches["reset"], disabled=switches["disabled"], strict=switches["strict"]
    )


def _judge(path: Path) -> Judge:
    """Return the policy of a file, by its suffix."""
    if path.suffix == REGO_SUFFIX:
        from tiffin.builder.policy.rego.policy import RegoPolicy

        return RegoPolicy(path)
    if path.suffix == ".json":
        from tiffin.builder.policy.containers import ContainersPolicy

        return ContainersPolicy(path)
    from tiffin.builder.policy.document import TomlPolicy

    return TomlPolicy(path)
