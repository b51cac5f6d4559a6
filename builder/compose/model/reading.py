"""Documents in long forms become values."""

from __future__ import annotations

import math
from typing import Any

from tiffin.builder.compose.model.fields import Members
from tiffin.builder.compose.model.refused import refusals
from tiffin.builder.compose.model.values import (
    Build,
    Dependency,
    FileMount,
    HealthCheck,
    Hook,
    Limits,
    Mount,
    Port,
    Refusal,
    Resource,
    Service,
    ServiceNetwork,
    Watch,
)
from tiffin.builder.compose.places import Map, Place

RESTART_CONDITIONS = {"none": "no", "on-failure": "on-failure", "any": "always"}


def read_service(name: str, document: Map, place: Place) -> Service:
    """Return a service. Raises ComposeError."""
    members = Members(document, f"services.{name}")
    seconds = members.seconds("stop_grace_period")
    return Service(
        name=name,
        document=document,
        place=place,
        image=members.text("image"),
        build=_build(members.inner("build")) if members.has("build") else None,
        stop_seconds=None if seconds is None else math.ceil(seconds),
        networks={key: _network(members.inner("networks").inner(key)) for key in document.get("networks") or ()},
        depends_on={
            key: _dependency(members.inner("depends_on").inner(key)) for key in document.get("depends_on") or ()
        },
        ports=tuple(_port(item) for item, _ in members.items("ports")),
        mounts=tuple(_mount(item, at) for item, at in members.items("volumes")),
        configs=tuple(_file(item, "") for item, _ in members.items("configs")),
        secrets=tuple(_file(item, "/run/secrets") for item, _ in members.items("secrets")),
        health=_health(members.inner("healthcheck")) if members.has("healthcheck") else None,
        restart=_restart(members),
        scale=_scale(members),
        limits=_limits(members),
        watch=tuple(_watch(item) for item, _ in members.inner("develop").items("watch")),
        post_start=tuple(_hook(item) for item, _ in members.items("post_start")),
        pre_stop=tuple(_hook(item) for item, _ in members.items("pre_stop")),
        refusals=tuple(refusals(members)),
        **_simple(members),
    )


def _simple(members: Members) -> dict[str, Any]:
    """Return the members that are one value, or a list or a mapping of texts."""
    domain, hostname = members.text("domainname"), members.text("hostname")
    return {
        "container_name": members.text("container_name"),
        "command": members.maybe_texts("command"),
        "entrypoint": members.maybe_texts("entrypoint"),
        "environment": members.maybe_mapping("environment"),
        "labels": members.mapping("labels"),
        "tmpfs": members.texts("tmpfs"),
        "volumes_from": members.texts("volumes_from"),
        "network_mode": members.text("network_mode"),
        "links": members.texts("links"),
        "stop_signal": members.text("stop_signal"),
        "tty": members.switch("tty"),
        "stdin_open": members.switch("stdin_open"),
        "user": members.text("user"),
        "groups": members.texts("group_add"),
        "workdir": members.text("working_dir"),
        "hostname": f"{hostname}.{domain}" if domain and hostname else hostname,
        "init": members.switch("init"),
        "privileged": members.switch("privileged"),
        "read_only": members.switch("read_only"),
        "cap_add": members.texts("cap_add"),
        "cap_drop": members.texts("cap_drop"),
        "security": members.texts("security_opt"),
        "ulimits": _ulimits(members),
        "sysctls": members.mapping("sysctls"),
        "shm_size": members.size("shm_size"),
        "hosts": members.texts("extra_hosts"),
        "dns": members.texts("dns"),
        "dns_search": members.texts("dns_search"),
        "dns_options": members.texts("dns_opt"),
        "log_driver": members.inner("logging").text("driver"),
        "log_options": members.inner("logging").mapping("options"),
        "pull_policy": members.text("pull_policy"),
        "platform": members.text("platform"),
        "profiles": members.texts("profiles"),
        "attach": members.switch("attach", default=True),
    }


def _build(members: Members) -> Build:
    return Build(
        context=members.text("context"),
        place=members.place("context"),
        dockerfile=members.text("dockerfile"),
        inline=members.text("dockerfile_inline") if members.has("dockerfile_inline") else None,
        target=members.text("target"),
        args=members.mapping("args"),
        labels=members.mapping("labels"),
        contexts=members.mapping("additional_contexts"),
        secrets=tuple(_file(item, "") for item, _ in members.items("secrets")),
        ssh=tuple(f"{key}={value}" if value else key for key, value in members.mapping("ssh").items()),
        tags=members.texts("tags"),
        platforms=members.texts("platforms"),
        cache_from=members.texts("cache_from"),
        cache_to=members.texts("cache_to"),
        no_cache=members.switch("no_cache"),
        no_cache_stages=members.texts("no_cache_filter"),
        pull=members.switch("pull"),
        network=members.text("network"),
        shm_size=members.size("shm_size"),
        hosts=members.texts("extra_hosts"),
        ulimits=_ulimits(members),
        entitlements=members.texts("entitlements"),
        provenance=members.text("provenance"),
        sbom=members.text("sbom"),
    )


def _network(members: Members) -> ServiceNetwork:
    return ServiceNetwork(
        aliases=members.texts("aliases"),
        ipv4=members.text("ipv4_address"),
        ipv6=members.text("ipv6_address"),
        mac=members.text("mac_address"),
    )


def _dependency(members: Members) -> Dependency:
    return Dependency(
        condition=members.text("condition"),
        required=members.switch("required", default=True),
        restart=members.switch("restart"),
    )


def _port(members: Members) -> Port:
    if not members.has("target"):
        raise members.wrong("target", "a port needs a target")
    return Port(
        target=members.number("target"),
        published=members.text("published"),
        host_ip=members.text("host_ip"),
        protocol=members.text("protocol"),
    )


def _mount(members: Members, place: Place) -> Mount:
    bind, volume, tmpfs = members.inner("bind"), members.inner("volume"), members.inner("tmpfs")
    return Mount(
        kind=members.text("type"),
        target=members.text("target"),
        place=place,
        source=members.text("source"),
        read_only=members.switch("read_only"),
        makes_source=bind.switch("create_host_path"),
        copies=not volume.switch("nocopy"),
        propagation=bind.text("propagation"),
        subpath=volume.text("subpath") or members.inner("image").text("subpath"),
        size_bytes=tmpfs.size("size"),
        mode=tmpfs.mode("mode"),
    )


def _file(members: Members, folder: str) -> FileMount:
    source, target = members.text("source"), members.text("target")
    target = target or f"{folder}/{source}"
    return FileMount(
        source=source,
        target=target if target.startswith("/") else f"{folder}/{target}",
        mode=members.mode("mode"),
        uid=members.text("uid"),
        gid=members.text("gid"),
    )


def _health(members: Members) -> HealthCheck:
    test = members.texts("test")
    if members.has("start_interval") and not members.has("start_period"):
        raise members.wrong(
            "start_interval",
            "healthcheck.start_interval requires healthcheck.start_period to be set",
            remedy="set both",
        )
    return HealthCheck(
        test=test,
        interval=members.seconds("interval"),
        timeout=members.seconds("timeout"),
        retries=members.number("retries") if members.has("retries") else None,
        start_period=members.seconds("start_period"),
        start_interval=members.seconds("start_interval"),
        disabled=members.switch("disable") or test[:1] == ("NONE",),
    )


def _restart(members: Members) -> str:
    """Return the policy as docker's --restart has it: that of the service, or of its deployment."""
    policy = members.inner("deploy").inner("restart_policy")
    if members.has("restart"):
        text = members.text("restart")
        return "no" if text == "false" else text
    if not policy.document:
        return "no"
    condition = policy.text("condition") or "any"
    if condition not in RESTART_CONDITIONS:
        raise policy.wrong("condition", f'"{condition}" is none of {", ".join(RESTART_CONDITIONS)}')
    most = policy.number("max_attempts")
    name = RESTART_CONDITIONS[condition]
    return f"{name}:{most}" if name == "on-failure" and most else name


def _scale(members: Members) -> int:
    deploy = members.inner("deploy")
    return members.number("scale") if members.has("scale") else deploy.number("replicas", default=1)


def _limits(members: Members) -> Limits:
    limits = members.inner("deploy").inner("resources").inner("limits")
    swap = members.text("memswap_limit")
    return Limits(
        memory_bytes=members.size("mem_limit") or limits.size("memory"),
        swap_bytes=-1 if swap == "-1" else members.size("memswap_limit"),
        cpus=members.decimal("cpus") or limits.decimal("cpus"),
        pids=max(members.number("pids_limit") or limits.number("pids"), 0),
    )


def _ulimits(members: Members) -> tuple[tuple[str, int, int], ...]:
    limits = members.inner("ulimits")
    found = []
    for name, value in limits.document.items():
        if isinstance(value, Map):
            inner = limits.inner(name)
            found.append((name, inner.number("soft"), inner.number("hard")))
        else:
            found.append((name, limits.number(name), limits.number(name)))
    return tuple(found)


def _hook(members: Members) -> Hook:
    return Hook(
        command=members.texts("command"),
        user=members.text("user"),
        workdir=members.text("working_dir"),
        privileged=members.switch("privileged"),
        environment=members.maybe_mapping("environment"),
    )


def _watch(members: Members) -> Watch:
    action, target = members.text("action"), members.text("target")
    if action not in ("rebuild", "restart") and not target:
        raise members.wrong("action", f"{action} needs a target")
    return Watch(
        path=members.text("path"),
        action=action,
        target=target,
        ignore=members.texts("ignore"),
        include=members.texts("include"),
        initial_sync=members.switch("initial_sync"),
        hook=_hook(members.inner("exec")) if members.has("exec") else None,
    )


def read_resource(section: str, key: str, document: Map, place: Place) -> Resource:
    """Return a network, a volume, a secret or a config. Raises ComposeError."""
    members = Members(document, f"{section}.{key}")
    ipam = [item for item, _ in members.inner("ipam").items("config")]
    return Resource(
        key=key,
        name=members.text("name"),
        place=place,
        external=members.switch("external"),
        driver=members.text("driver"),
        options=members.mapping("driver_opts"),
        labels=members.mapping("labels"),
        internal=members.switch("internal"),
        subnets=tuple(item.text("subnet") for item in ipam if item.has("subnet")),
        gateways=tuple(item.text("gateway") for item in ipam if item.has("gateway")),
        address_ranges=tuple(item.text("ip_range") for item in ipam if item.has("ip_range")),
        has_ipv6=members.switch("enable_ipv6"),
        file=members.text("file"),
        variable=members.text("environment"),
        content=members.text("content") if members.has("content") else None,
        refusals=tuple(_resource_refusals(section, members)),
    )


def _resource_refusals(section: str, members: Members) -> list[Refusal]:
    found = []
    if section in ("secrets", "configs"):
        reasons = {
            "external": "they are files, variables or texts of this machine",
            "driver": "there is no store of them",
        }
        reasons["template_driver"] = "their text is taken as it stands"
    else:
        reasons = {}
    for item, _ in members.inner("ipam").items("config"):
        if item.has("aux_addresses"):
            what, place = f"{members.where}.ipam.config.aux_addresses", item.place("aux_addresses")
            found.append(Refusal(what=what, why="give services addresses by ipv4_address", place=place))
    for key, why in reasons.items():
        if members.document.get(key):
            found.append(Refusal(what=f"{members.where}.{key}", why=why, place=members.place(key)))
    drivers = {"networks": ("", "bridge", "default"), "volumes": ("", "local")}.get(section)
    driver = members.text("driver")
    if drivers is not None and driver not in drivers:
        found.append(
            Refusal(what=f"{members.where}.driver {driver}", why=f"use {drivers[1]}", place=members.place("driver"))
        )
    return found
