"""What tests of bake files share: texts to targets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tiffin.builder.bake.definition import Config, printed
from tiffin.builder.bake.files import File, Surroundings
from tiffin.builder.bake.reading import read_files
from tiffin.builder.bake.resolving import resolve

BUILTINS = {"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": "linux/amd64"}


class Baker:
    """Reads texts as files. `warnings` are what was told."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.warnings: list[str] = []

    def config(self, *files: tuple[str, str] | str, env: Mapping[str, str] | None = None, **more: Any) -> Config:
        """Return what files define; a text alone is docker-bake.hcl."""
        named = [File(name=file[0], text=file[1]) if isinstance(file, tuple) else _file(file) for file in files]
        surroundings = Surroundings(
            builtins={**BUILTINS, **more.get("builtins", {})},
            given=more.get("given", {}),
            environ=env or {},
            directory=self.directory,
            is_relative=more.get("is_relative", False),
        )
        return read_files(named, surroundings, self.warnings.append)

    def document(
        self,
        *files: tuple[str, str] | str,
        targets: Sequence[str] = (),
        sets: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Return what --print shows."""
        config = self.config(*files, env=env, **more)
        resolved = resolve(config, targets, sets, (env or {}).get)
        made: dict[str, Any] = json.loads(printed(resolved.targets, resolved.groups))
        return made

    def target(self, *files: tuple[str, str] | str, name: str = "app", **more: Any) -> dict[str, Any]:
        """Return one target as --print shows it."""
        made: dict[str, Any] = self.document(*files, targets=[name], **more)["target"][name]
        return made


def _file(text: str) -> File:
    return File(name="docker-bake.hcl", text=text)
