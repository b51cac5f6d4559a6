"""A service as the line of `tiffin run` and of `tiffin build` that stands for it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.compose.naming import container_name, image_of
from tiffin.builder.api.compose.resources import file_mounts
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.build_values import build_options
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.containers.networks import parse_mac
from tiffin.builder.cli.options.run_arguments import CreateArguments
from tiffin.builder.cli.options.run_values import container_options, run_options
from tiffin.builder.compose.model.fields import Members
from tiffin.builder.compose.model.values import (
    OF_SERVICE,
    SHARED_NAMESPACES,
    Build,
    HealthCheck,
    Mount,
    Port,
    Project,
    Service,
)
from tiffin.builder.compose.places import wrong
from tiffin.builder.containers import health
from tiffin.builder.containers.network.attachment import NetworkAttachment
from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import replace


class ServiceLines:
    """Turns the services of a project into options."""

    def __init__(
        self, project: Project, session: Session, progress: str = "auto", *, build: Mapping[str, Any] = {}
    ) -> None:
        self._project = project
        self._session = session
        self._progress = progress
        self._build = build  # what the line of compose build says

    @property
    def registry(self) -> RegistryAccess:
        """How registries are reached."""
        return RegistryArguments().registry_access()

    def progress(self) -> AbstractContextManager[Sink]:
        """Return what shows how a build or a pull goes on."""
        from tiffin.builder.cli.output.render import make_renderer

        return make_renderer(self._progress)

    def container(
        self, service: Service, *, name: str, number: int, labels: Mapping[str, str], changes: Mapping[str, Any] = {}
    ) -> RunOptions:
        """Return the options of a container; `changes` stand above what the service says. Raises ComposeError."""
        try:
            line = CreateArguments({**self._line(service, name, number, labels), **changes})
            options = container_options(line)
            networks = self._attachments(service)
        except UsageError as exc:
            raise wrong(f"services.{service.name}: {exc.message}", service.place, remedy=exc.remedy) from exc
        options = replace(options, health=_health(service.health))
        return replace(run_options(line, lambda: options), networks=networks)

    def _attachments(self, service: Service) -> tuple[NetworkAttachment, ...]:
        """Return its networks; a MAC address of the service is that of the first. Raises UsageError."""
        own = str(service.document.get("mac_address") or "")
        found = []
        for key, network in service.networks.items():
            mac, own = parse_mac(network.mac or own), ""
            aliases = tuple(dict.fromkeys((service.name, *network.aliases)))
            name = self._project.networks[key].name
            found.append(NetworkAttachment(name=name, aliases=aliases, ip=network.ipv4, ip6=network.ipv6, mac=mac))
        return tuple(found)

    def _line(self, service: Service, name: str, number: int, labels: Mapping[str, str]) -> dict[str, Any]:
        members = Members(service.document, f"services.{service.name}")
        return {
            "image": image_of(self._project, service),
            "name": name,
            "labels": _pairs(labels),
            "env": _pairs(service.environment),
            "mounts": tuple(self._mounts(service)),
            "tmpfs": service.tmpfs,
            "links": tuple(self._links(service)),
            "volumes_from": tuple(self._volumes_from(service)),
            "publish": tuple(published_port(port, number) for port in service.ports),
            "hosts": tuple(text.replace("=", ":", 1) for text in service.hosts),
            "hostname": service.hostname,
            "workdir": service.workdir,
            "user": service.user,
            "groups": service.groups,
            "tty": service.tty,
            "interactive": service.stdin_open,
            "init": service.init,
            "privileged": service.privileged,
            "read_only": service.read_only,
            "cap_add": service.cap_add,
            "cap_drop": service.cap_drop,
            "security": service.security,
            "sysctls": _pairs(service.sysctls),
            "ulimits": tuple(f"{limit}={soft}:{hard}" for limit, soft, hard in service.ulimits),
            "dns": service.dns,
            "dns_search": service.dns_search,
            "dns_options": service.dns_options,
            "restart": service.restart,
            "stop_signal": service.stop_signal,
            "stop_timeout": None if service.stop_seconds is None else str(service.stop_seconds),
            "log_driver": service.log_driver or CreateArguments.log_driver,
            "log_opt": _pairs(service.log_options),
            "platform": service.platform,
            "pull": "missing",
            **_command(service),
            "network": (self._network(service),),
            **_limits(service, members),
            **_further(members),
            **{kind: self._of_container(members.text(kind)) for kind in SHARED_NAMESPACES},
        }

    def _network(self, service: Service) -> str:
        return self._of_container(service.network_mode) or "private"

    def _of_container(self, text: str) -> str:
        """Return a namespace that may be that of a service as the line has it: of its first container."""
        if not text.startswith(OF_SERVICE):
            return text
        other = self._project.services[text.removeprefix(OF_SERVICE)]
        return f"container:{container_name(self._project, other, 1)}"

    def _links(self, service: Service) -> list[str]:
        """Return the links that make names: those with an alias, as on a network of the project the name of a service
        leads to it without one.
        """
        found = []
        for text in service.links:
            name, _, alias = text.partition(":")
            if name in self._project.services and (alias or service.network_mode):
                other = container_name(self._project, self._project.services[name], 1)
                found.append(f"{other}:{alias or name}")
        return found

    def _mounts(self, service: Service) -> list[str]:
        texts = [self._mount(mount) for mount in service.mounts]
        files = file_mounts(self._project, service, self._session)
        return texts + [_csv(type="bind", source=source, target=target, readonly="true") for source, target in files]

    def _mount(self, mount: Mount) -> str:
        fields: dict[str, str] = {"type": mount.kind, "target": mount.target}
        if mount.kind == "bind":
            if mount.makes_source and not Path(mount.source).exists():
                Path(mount.source).mkdir(parents=True)
            fields["source"] = mount.source
            if mount.propagation:
                fields["bind-propagation"] = mount.propagation
        elif mount.kind == "volume":
            if mount.source:
                fields["source"] = self._project.volumes[mount.source].name
            if not mount.copies:
                fields["volume-nocopy"] = "true"
        elif mount.kind == "image":
            fields["source"] = mount.source
        else:
            fields |= {"tmpfs-size": str(mount.size_bytes)} if mount.size_bytes else {}
            fields |= {"tmpfs-mode": f"{mount.mode:o}"} if mount.mode is not None else {}
        fields |= {f"{mount.kind}-subpath": mount.subpath} if mount.subpath else {}
        return _csv(**fields, **({"readonly": "true"} if mount.read_only else {}))

    def _volumes_from(self, service: Service) -> list[str]:
        found = []
        for text in service.volumes_from:
            if text.startswith("container:"):
                found.append(text.removeprefix("container:"))
                continue
            name, _, mode = text.partition(":")
            container = container_name(self._project, self._project.services[name], 1)
            found.append(f"{container}:{mode}" if mode else container)
        return found

    # -- builds --------------------------------------------------------------------------------------------------------

    def build(self, service: Service) -> BuildOptions:
        """Return the options of the build of a service's image. Raises ComposeError."""
        wanted = service.build
        assert wanted is not None
        try:
            more = {key: value for key, value in self._build.items() if key != "build_args"}
            line = BuildArguments({**self._build_line(service, wanted), **more})
            options = build_options(line)
        except UsageError as exc:
            raise wrong(f"services.{service.name}.build: {exc.message}", wanted.place, remedy=exc.remedy) from exc
        if wanted.inline is not None:
            options = replace(options, file="", dockerfile=wanted.inline)
        secrets = {item.target.lstrip("/") or item.source: self._secret(item.source) for item in wanted.secrets}
        return replace(options, secrets={**options.secrets, **secrets}) if secrets else options

    def _build_line(self, service: Service, wanted: Build) -> dict[str, Any]:
        return {
            "context": wanted.context,
            "file": _dockerfile(wanted),
            "tags": (image_of(self._project, service), *wanted.tags),
            "build_args": (*_pairs(wanted.args), *self._build.get("build_args", ())),
            "contexts": tuple(f"{key}={self._context(text)}" for key, text in wanted.contexts.items()),
            "target": wanted.target,
            "labels": _pairs(wanted.labels),
            "ssh": wanted.ssh,
            "platforms": wanted.platforms or ((service.platform,) if service.platform else ()),
            "cache_from": wanted.cache_from,
            "cache_to": wanted.cache_to,
            "no_cache": wanted.no_cache,
            "no_cache_stages": wanted.no_cache_stages,
            "network": wanted.network or "default",
            "shm_size": str(wanted.shm_size or ""),
            "hosts": wanted.hosts,
            "ulimits": tuple(f"{limit}={soft}:{hard}" for limit, soft, hard in wanted.ulimits),
            "allowed": wanted.entitlements,
            "pull": "always" if wanted.pull else "",
            "provenance": (wanted.provenance,) if wanted.provenance else (),
            "sbom": (wanted.sbom,) if wanted.sbom else (),
        }

    def _context(self, text: str) -> str:
        if text.startswith(OF_SERVICE):
            base = self._project.every_service[text.removeprefix(OF_SERVICE)]
            return f"docker-image://{image_of(self._project, base)}"
        return text

    def _secret(self, key: str) -> bytes:
        secret = self._project.secrets[key]
        if not secret.file:
            text = self._project.environment.get(secret.variable)
            if text is None:
                raise wrong(f"secrets.{key}: the variable {secret.variable} is not set", secret.place, remedy="set it")
            return text.encode("utf-8", "surrogateescape")
        try:
            return Path(secret.file).read_bytes()
        except OSError as exc:
            raise wrong(f"secrets.{key}: {secret.file}: {exc.strerror}", secret.place, remedy="make it") from exc


def _dockerfile(wanted: Build) -> str:
    """Return the path of a Dockerfile, which is named from its context."""
    if wanted.inline is not None or not wanted.dockerfile:
        return ""
    if not Path(wanted.context).is_dir():
        return wanted.dockerfile
    return str(Path(wanted.context) / wanted.dockerfile)


def _pairs(values: Mapping[str, str | None]) -> tuple[str, ...]:
    return tuple(name if value is None else f"{name}={value}" for name, value in values.items())


def _csv(**fields: str) -> str:
    """Return fields as --mount has them, commas and all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([f"{name}={value}" for name, value in fields.items()])
    return text.getvalue()


def _command(service: Service) -> dict[str, Any]:
    """Return the program and the words: an entrypoint has one word on a line, the others go before the command."""
    words: Sequence[str] = service.command or ()
    if service.entrypoint is None:
        return {"words": tuple(words)}
    program, rest = service.entrypoint[:1], service.entrypoint[1:]
    return {"entrypoint": program[0] if program else "", "words": (*rest, *words)}


def published_port(port: Port, number: int) -> str:
    """Return a port as -p has it; of a range each container of a service gets another one."""
    address = f"[{port.host_ip}]:" if ":" in port.host_ip else f"{port.host_ip}:" if port.host_ip else ""
    first, _, last = port.published.partition("-")
    host = str(min(int(first) + number - 1, int(last))) if last else first
    if host in ("", "0"):
        return f"{address}:{port.target}/{port.protocol}" if address else f"{port.target}/{port.protocol}"
    return f"{address}{host}:{port.target}/{port.protocol}"


def _limits(service: Service, members: Members) -> dict[str, Any]:
    limits = service.limits
    reservations = members.inner("deploy").inner("resources").inner("reservations")
    return {
        "memory": str(limits.memory_bytes or ""),
        "swap": str(limits.swap_bytes or ""),
        "cpus": f"{limits.cpus:g}" if limits.cpus else "",
        "pids": limits.pids,
        "shm_size": str(service.shm_size) if service.shm_size else CreateArguments.shm_size,
        "reservation": members.text("mem_reservation") or reservations.text("memory"),
        "cpu_shares": members.number("cpu_shares"),
        "cpu_period": members.number("cpu_period"),
        "cpu_quota": members.number("cpu_quota"),
        "cpuset": members.text("cpuset"),
        "blkio_weight": members.inner("blkio_config").number("weight"),
        "oom_score_adj": members.text("oom_score_adj"),
    }


def _further(members: Members) -> dict[str, Any]:
    """Return namespaces that no service shares, devices, annotations."""
    devices = [
        ":".join((item.text("source"), item.text("target"), item.text("permissions") or "rwm"))
        if item.text("source").startswith("/")
        else item.text("source")
        for item, _ in members.items("devices")
    ]
    reservations = members.inner("deploy").inner("resources").inner("reservations")
    gpus = next(iter([*members.items("gpus"), *reservations.items("devices")]), None)
    return {
        "uts": members.text("uts"),
        "cgroupns": members.text("cgroup"),
        "userns": members.text("userns_mode"),
        "runtime": members.text("runtime"),
        "annotations": _pairs(members.mapping("annotations")),
        "device": tuple(devices),
        "gpus": _gpus(gpus[0]) if gpus is not None else "",
    }


def _gpus(request: Members) -> str:
    ids = request.texts("device_ids")
    return f"device={','.join(ids)}" if ids else request.text("count") or "all"


def _health(wanted: HealthCheck | None) -> health.HealthCheck | None:
    if wanted is None:
        return None
    return health.HealthCheck(
        test=(health.NONE,) if wanted.disabled else wanted.test,
        interval=wanted.interval or 0.0,
        timeout=wanted.timeout or 0.0,
        retries=wanted.retries or 0,
        start_period=wanted.start_period or 0.0,
        start_interval=wanted.start_interval or 0.0,
    )
