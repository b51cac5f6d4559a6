"""The image configuration: image-spec config.md with Docker's extensions (Healthcheck, OnBuild, Shell, ArgsEscaped)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.spec import Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

INLINE_CACHE = "vnd.tiffin.cache.v1"  # records of the image's steps, by tiffin; a member that others do not know
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """Docker's extension; durations in nanoseconds, 0 means inherit."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0

    @classmethod
    def from_fields(cls, fields: Fields) -> Healthcheck:
        return cls(
            test=fields.texts("Test"),
            interval_ns=fields.integer("Interval", 0),
            timeout_ns=fields.integer("Timeout", 0),
            start_period_ns=fields.integer("StartPeriod", 0),
            start_interval_ns=fields.integer("StartInterval", 0),
            retries=fields.integer("Retries", 0),
        )

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {
            "Test": list(self.test),
            "Interval": self.interval_ns,
            "Timeout": self.timeout_ns,
            "StartPeriod": self.start_period_ns,
            "StartInterval": self.start_interval_ns,
            "Retries": self.retries,
        }
        return {name: value for name, value in members.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The `config` member: how to run the image. None for cmd, entrypoint, shell means not set."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()  # "80/tcp", sorted
    env: tuple[str, ...] = ()  # "NAME=value", in order
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    args_escaped: bool = False
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None

    @classmethod
    def from_fields(cls, fields: Fields) -> RunConfig:
        def maybe(name: str) -> tuple[str, ...] | None:
            return fields.texts(name) if fields.has(name) else None

        return cls(
            user=fields.text("User", ""),
            exposed_ports=tuple(sorted(fields.keys_of("ExposedPorts"))),
            env=fields.texts("Env"),
            entrypoint=maybe("Entrypoint"),
            cmd=maybe("Cmd"),
            args_escaped=fields.flag("ArgsEscaped"),
            volumes=tuple(sorted(fields.keys_of("Volumes"))),
            working_dir=fields.text("WorkingDir", ""),
            labels=MappingProxyType(fields.text_map("Labels")),
            stop_signal=fields.text("StopSignal", ""),
            healthcheck=Healthcheck.from_fields(fields.child("Healthcheck")) if fields.has("Healthcheck") else None,
            on_build=fields.texts("OnBuild"),
            shell=maybe("Shell"),
        )

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Healthcheck": self.healthcheck.to_json() if self.healthcheck else None,
            "OnBuild": list(self.on_build),
            "ArgsEscaped": self.args_escaped,
        }
        result = {name: value for name, value in members.items() if value}
        for name, words in (("Entrypoint", self.entrypoint), ("Cmd", self.cmd), ("Shell", self.shell)):
            if words is not None:
                result[name] = list(words)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One `history` entry; `created` is RFC 3339 text as found, so that a base's entries survive unchanged."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def from_fields(cls, fields: Fields) -> History:
        return cls(
            created=fields.text("created", ""),
            created_by=fields.text("created_by", ""),
            author=fields.text("author", ""),
            comment=fields.text("comment", ""),
            empty_layer=fields.flag("empty_layer"),
        )

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
        }
        return {name: value for name, value in members.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """image-spec config.md; its digest is Docker's image id."""

    platform: Platform
    config: RunConfig = field(default_factory=RunConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    inline_cache: str = ""

    @classmethod
    def decode(cls, data: bytes) -> ImageConfig:
        """Read a configuration blob; raises ImageError naming the member at fault."""
        fields = Fields.decode(data, "image config")
        return cls(
            platform=Platform.from_fields(fields),
            config=RunConfig.from_fields(fields.child("config")) if fields.has("config") else RunConfig(),
            diff_ids=tuple(Digest.parse(text) for text in fields.child("rootfs").texts("diff_ids"))
            if fields.has("rootfs")
            else (),
            history=tuple(History.from_fields(child) for child in fields.children("history")),
            created=fields.text("created", ""),
            author=fields.text("author", ""),
            os_version=fields.text("os.version", ""),
            os_features=fields.texts("os.features"),
            inline_cache=fields.text(INLINE_CACHE, ""),
        )

    def encode(self) -> bytes:
        document: dict[str, object] = {
            **self.platform.to_json(),
            "config": self.config.to_json(),
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]},
            "history": [entry.to_json() for entry in self.history],
        }
        for name, value in (
            ("created", self.created),
            ("author", self.author),
            ("os.version", self.os_version),
            ("os.features", list(self.os_features)),
            (INLINE_CACHE, self.inline_cache),
        ):
            if value:
                document[name] = value
        return canonical(document)
