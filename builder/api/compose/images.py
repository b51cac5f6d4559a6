"""The images of services: built, pulled, pushed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tiffin.builder.api.build import build
from tiffin.builder.api.compose.jobs import run_apart
from tiffin.builder.api.compose.makers import Makers
from tiffin.builder.api.compose.naming import image_of
from tiffin.builder.api.images import pull, push
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import OF_SERVICE, Build, Project, Service
from tiffin.builder.compose.places import wrong
from tiffin.builder.errors import ImageNotFoundError, TiffinError, UsageError
from tiffin.builder.events import NullSink, ResourceChanged, Sink, WarningMessage
from tiffin.builder.oci.spec import Platform

ALWAYS, NEVER, MISSING, BUILD = "always", "never", "missing", "build"


class Images:
    """The images of a project's services."""

    def __init__(self, project: Project, session: Session, sink: Sink, makers: Makers) -> None:
        self._project = project
        self._session = session
        self._sink = sink
        self._makers = makers

    def ensure(self, services: Collection[Service], *, builds: bool | None = None, pulls: str = "") -> dict[str, str]:
        """Have the image of every service here, and those that their builds begin with; return its id by the service.
        Raises TiffinError.

        `builds`: build again, or False: never; `pulls`: a policy that stands above those of the services.
        """
        check_refused(service for service in services if service.build is not None)
        found: dict[str, str] = {}
        for service in self._with_bases(services):
            name = image_of(self._project, service)
            policy = pulls or _policy(service)
            known = self._find(name)
            if service.build is not None and builds is not False and (builds or policy == BUILD or known is None):
                found[service.name] = self._build(service)
            elif known is not None and policy != ALWAYS:
                found[service.name] = known
            elif policy == NEVER or service.build is not None:
                raise ImageNotFoundError(
                    f"services.{service.name}: no image {name} is here",
                    remedy="build it with tiffin compose build"
                    if service.build
                    else "pull it with tiffin compose pull",
                )
            else:
                found[service.name] = self._pull(service, name)
        return found

    def build(self, services: Collection[Service], *, pushes: bool = False) -> None:
        """Build the images of the services that have a build, and those that they begin with. Raises TiffinError."""
        built = self._with_bases([service for service in services if service.build is not None])
        check_refused(built)
        for service in built:
            self._build(service)
            if pushes:
                self._push(service)

    def pull(
        self, services: Collection[Service], *, policy: str = "", ignores: bool = False, skips: bool = False
    ) -> None:
        """Pull the images of services; where it `ignores` failures they are warned of, where it `skips` those that can
        be built are left out. Raises TiffinError.
        """
        unbuilt: list[str] = []
        for service in services:
            name = image_of(self._project, service)
            if not service.image or (service.build is not None and skips) or _policy(service) in (NEVER, BUILD):
                self._told(service, "Skipped - No image to be pulled")
                continue
            if policy == MISSING and self._find(name) is not None:
                self._told(service, "Skipped - Image is already present locally")
                continue
            try:
                self._pull(service, name)
            except TiffinError as exc:
                if not ignores and service.build is None:
                    raise
                self._sink.emit(WarningMessage(message=f"{name}: {exc.message}"))
                if service.build is not None:
                    unbuilt.append(service.name)
        if unbuilt:
            text = (
                f"Some service image(s) must be built from source by running: tiffin compose build {' '.join(unbuilt)}"
            )
            self._sink.emit(WarningMessage(message=text))

    def push(self, services: Collection[Service], *, ignores: bool = False) -> None:
        """Push the images of the services that are built. Raises TiffinError."""
        for service in services:
            if service.build is None or not service.image:
                continue
            try:
                self._push(service)
            except TiffinError as exc:
                if not ignores:
                    raise
                self._sink.emit(WarningMessage(message=f"{image_of(self._project, service)}: {exc.message}"))

    def _with_bases(self, services: Collection[Service]) -> list[Service]:
        """Return services, each after those whose images are contexts of its build. Raises UsageError for a circle."""
        known = self._project.every_service
        done: dict[str, Service] = {}

        def add(service: Service, below: tuple[str, ...]) -> None:
            if service.name in below:
                raise UsageError(
                    f"builds need each other: {' -> '.join((*below, service.name))}", remedy="break the circle"
                )
            for name in _base_services(service.build):
                if name in known and name not in done:
                    add(known[name], (*below, service.name))
            done[service.name] = service

        for service in services:
            if service.name not in done:
                add(service, ())
        return list(done.values())

    def _find(self, name: str) -> str | None:
        def look(session: Session, sink: Sink) -> str | None:
            try:
                return str(session.store.find(name).id)
            except ImageNotFoundError:
                return None

        found: str | None = run_apart(look, self._session, NullSink())
        return found

    def _build(self, service: Service) -> str:
        def work(session: Session, sink: Sink) -> str:
            with self._makers.progress() as shown:
                return str(build(self._makers.build(service), session, shown).image_id)

        self._told(service, "Building")
        identity: str = run_apart(work, self._session, self._sink)
        self._told(service, "Built")
        return identity

    def _pull(self, service: Service, name: str) -> str:
        def work(session: Session, sink: Sink) -> str:
            platform = Platform.parse(service.platform) if service.platform else None
            with self._makers.progress() as shown:
                pull(name, session, shown, self._makers.registry, platform)
            return str(session.store.find(name).id)

        self._told(service, "Pulling")
        identity: str = run_apart(work, self._session, self._sink)
        self._told(service, "Pulled")
        return identity

    def _push(self, service: Service) -> None:
        def work(session: Session, sink: Sink) -> None:
            names = [image_of(self._project, service), *(service.build.tags if service.build else ())]
            with self._makers.progress() as shown:
                for name in names:
                    push(name, "", session, shown, self._makers.registry)

        self._told(service, "Pushing")
        run_apart(work, self._session, self._sink)
        self._told(service, "Pushed")

    def _told(self, service: Service, change: str) -> None:
        self._sink.emit(ResourceChanged(kind="Image", name=image_of(self._project, service), change=change))


def _policy(service: Service) -> str:
    """Return when the image of a service is pulled; those that go by time ask the registry each time."""
    policy = service.pull_policy
    return ALWAYS if policy in ("daily", "weekly", "refresh") or policy.startswith("every_") else policy


def _base_services(wanted: Build | None) -> list[str]:
    contexts: Mapping[str, str] = wanted.contexts if wanted is not None else {}
    return [text.removeprefix(OF_SERVICE) for text in contexts.values() if text.startswith(OF_SERVICE)]


def check_refused(services: Any) -> None:
    """Raise ComposeError for what services ask for and do not get."""
    for service in services:
        for refusal in service.refusals:
            raise wrong(f"{refusal.what} is not supported: {refusal.why}", refusal.place, remedy="leave it out")
