"""RUN --mount: from `type=…,target=…` to the mounts of a RunOp. Values expand; keys are known per type."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions.base import StageScope, absolute
from tiffin.builder.instructions.ops import (
    BindMount,
    CacheMount,
    ContextOrigin,
    Origin,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from tiffin.builder.options import csv_pairs, size_bytes
from tiffin.cache.foundation.frozen import dataclass

_ALIASES = {
    "dst": "target",
    "destination": "target",
    "src": "source",
    "readonly": "ro",
    "readwrite": "rw",
}
_COMMON = ("type", "target")
# the first of a line have a meaning there; the last ones are taken and mean nothing, as in BuildKit
_KEYS: Mapping[str, tuple[str, ...]] = {
    "bind": ("source", "from", "ro", "rw", "id", "env"),
    "cache": ("id", "source", "from", "ro", "rw", "sharing", "mode", "uid", "gid", "env"),
    "tmpfs": ("size", "ro", "rw", "id", "env"),
    "secret": ("id", "source", "env", "required", "mode", "uid", "gid", "ro", "rw"),
    "ssh": ("id", "required", "mode", "uid", "gid", "ro", "rw", "env"),
}
_SWITCHES = ("ro", "rw", "required")
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
# buildah's, for hosts with SELinux: nothing here carries labels that a sandbox would need changed
_RELABELLING = (("z", None), ("Z", None), ("relabel", "shared"), ("relabel", "private"))
_ALL_KEYS = sorted({*_COMMON, *_ALIASES, *(key for keys in _KEYS.values() for key in keys)})
SHARING = ("shared", "private", "locked")
SECRETS = "/run/secrets"
SSH_SOCKET = "/run/buildkit/ssh_agent."
MAX_ID = (1 << 32) - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFlag:
    """One --mount as written; only its shape was checked. Of fields given twice the last one counts, as in BuildKit."""

    fields: tuple[tuple[str, str], ...]  # canonical names; "true" for a switch without a value
    text: str
    span: Span

    @classmethod
    def parse(cls, text: str, span: Span) -> MountFlag:
        """Raise DockerfileError for what no value of a variable can mend."""
        fields: list[tuple[str, str]] = []
        try:
            pairs = csv_pairs(text)
        except ValueError as exc:
            raise DockerfileError(
                f'RUN --mount="{text}" has an empty item', span=span, remedy="write --mount=type=TYPE,target=PATH"
            ) from exc
        for written, value in pairs:
            if (written, value) in _RELABELLING:
                continue
            name = _ALIASES.get(written, written)
            if name not in _ALL_KEYS:
                raise DockerfileError(
                    f"unexpected key '{written}' in '{written if value is None else f'{written}={value}'}'",
                    span=span,
                    remedy=did_you_mean(written, _ALL_KEYS) or f"the keys are {', '.join(_ALL_KEYS)}",
                )
            if value is None and name not in _SWITCHES:
                raise DockerfileError(
                    f"invalid field '{written}' must be a key=value pair", span=span, remedy=f"write {written}=VALUE"
                )
            fields.append((name, "true" if value is None else value))
        mount = cls(fields=tuple(fields), text=text, span=span)
        kind = dict(fields).get("type", "bind")
        if "$" not in kind:
            mount._check_keys(kind.lower())
        return mount

    def apply(self, scope: StageScope, ssh_number: int) -> RunMount:
        """Return the mount with variables expanded; `ssh_number` counts the ssh mounts before it.

        Raises DockerfileError.
        """
        fields: dict[str, str] = {}
        writable: bool | None = None
        for name, text in self.fields:
            fields[name] = (scope.expand_reference if name == "from" else scope.expand)(text, self.span)
            if name in ("ro", "rw"):
                writable = self._boolean(name, fields[name]) == (name == "rw")
        kind = fields.get("type", "bind").lower()
        self._check_keys(kind)
        match kind:
            case "bind":
                return self._bind(fields, scope, writable=bool(writable))
            case "cache":
                return self._cache(fields, scope, read_only=writable is False)
            case "tmpfs":
                return TmpfsMount(
                    target=self._target(fields, scope), size_bytes=self._size(fields), read_only=writable is False
                )
            case "secret":
                return self._secret(fields, scope)
            case _:
                return self._ssh(fields, scope, ssh_number)

    # -- kinds ---------------------------------------------------------------------------------------------------------

    def _bind(self, fields: Mapping[str, str], scope: StageScope, *, writable: bool) -> BindMount:
        return BindMount(
            target=self._target(fields, scope),
            source=absolute(fields.get("source", "/"), "/"),
            origin=self._origin(fields, scope) or ContextOrigin(),
            writable=writable,
        )

    def _cache(self, fields: Mapping[str, str], scope: StageScope, *, read_only: bool) -> CacheMount:
        target = self._target(fields, scope)
        sharing = fields.get("sharing", "shared").lower()
        if sharing not in SHARING:
            raise self._error(
                f'unsupported sharing mode "{sharing}"',
                did_you_mean(sharing, SHARING) or f"use {', '.join(SHARING)}",
            )
        return CacheMount(
            target=target,
            id=fields.get("id") or target,
            sharing=sharing,
            read_only=read_only,
            origin=self._origin(fields, scope),
            source=absolute(fields.get("source", "/"), "/"),
            mode=self._mode(fields),
            uid=self._number(fields, "uid"),
            gid=self._number(fields, "gid"),
        )

    def _secret(self, fields: Mapping[str, str], scope: StageScope) -> SecretMount:
        # BuildKit reads `source` as another name of `id`
        name, env, target = fields.get("id") or fields.get("source", ""), fields.get("env", ""), fields.get("target")
        if fields.get("id") and fields.get("source"):
            raise self._error("both source and id can't be set", "keep one of them")
        if not (name or target or env):
            raise self._error("a secret mount needs one of id, target, env", "write --mount=type=secret,id=NAME")
        if not target and not env:
            target = f"{SECRETS}/{posixpath.basename(name)}"
        mode = self._mode(fields)
        return SecretMount(
            id=name or posixpath.basename(target or "") or env,
            target=absolute(target, scope.workdir) if target else "",
            env=env,
            required=self._boolean("required", fields.get("required", "false")),
            mode=0o400 if mode is None else mode,
            uid=self._number(fields, "uid") or 0,
            gid=self._number(fields, "gid") or 0,
        )

    def _ssh(self, fields: Mapping[str, str], scope: StageScope, number: int) -> SshMount:
        mode = self._mode(fields)
        return SshMount(
            id=fields.get("id") or "default",
            target=absolute(fields.get("target") or f"{SSH_SOCKET}{number}", scope.workdir),
            required=self._boolean("required", fields.get("required", "false")),
            mode=0o600 if mode is None else mode,
            uid=self._number(fields, "uid") or 0,
            gid=self._number(fields, "gid") or 0,
        )

    # -- fields --------------------------------------------------------------------------------------------------------

    def _check_keys(self, kind: str) -> None:
        if kind not in _KEYS:
            raise self._error(
                f'unsupported mount type "{kind}"', did_you_mean(kind, list(_KEYS)) or f"use {', '.join(_KEYS)}"
            )
        for name, _ in self.fields:
            if name in _COMMON or name in _KEYS[kind]:
                continue
            if kind == "secret" and name in ("from", "sharing"):
                message = f"secret mount should not {'have a from' if name == 'from' else 'define sharing'}"
            elif kind == "ssh" and name == "source":
                message = "ssh mount does not support source"
            else:
                message = f'{name} not allowed for "{kind}" type mounts'
            raise self._error(message, "leave it out")

    def _target(self, fields: Mapping[str, str], scope: StageScope) -> str:
        target = fields.get("target", "")
        path = absolute(target, scope.workdir)  # without a target it covers the working directory
        if path == "/" and not target:
            raise self._error(f"{fields.get('type', 'bind')} mounts need a target", "add target=PATH")
        if path == "/":
            raise self._error("a mount cannot cover /", "name a directory below it")
        return path

    def _origin(self, fields: Mapping[str, str], scope: StageScope) -> Origin | None:
        name = fields.get("from", "")
        if not name:
            return None
        return scope.planner.origin(name, self.span, mount_target=fields.get("target", ""))

    def _boolean(self, name: str, text: str) -> bool:
        if text not in _BOOLEANS:
            raise self._error(f"invalid value for '{name}': {text}", f"write {name}=true or {name}=false")
        return _BOOLEANS[text]

    def _size(self, fields: Mapping[str, str]) -> int:
        try:
            return size_bytes(fields.get("size") or "0")
        except ValueError as exc:
            raise self._error(f"invalid value for 'size': {fields['size']}", "write a number with k, m or g") from exc

    def _mode(self, fields: Mapping[str, str]) -> int | None:
        text = fields.get("mode", "")
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or set(text) & set("89") or int(text, 8) > 0o7777:
            raise self._error(f"invalid value for 'mode': {text}", "write an octal mode such as 0755")
        return int(text, 8)

    def _number(self, fields: Mapping[str, str], name: str) -> int | None:
        text = fields.get(name, "")
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or int(text) > MAX_ID:
            raise self._error(f"invalid value for '{name}': {text}", "write a number")
        return int(text)

    def _error(self, message: str, remedy: str) -> DockerfileError:
        return DockerfileError(f'{message} (in --mount="{self.text}")', span=self.span, remedy=remedy)
