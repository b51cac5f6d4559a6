"""Projects made of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.builder.compose.model.values import Project
from tiffin.builder.compose.project import ProjectOptions, load_project

Load = Callable[..., Project]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write files, the first of which is compose.yaml, and load those that are named, or that one."""

    def loaded(text: str, /, environ: dict[str, str] | None = None, **more: object) -> Project:
        folder = tmp_path / "demo"
        folder.mkdir(exist_ok=True)
        (folder / "compose.yaml").write_text(text)
        others = more.pop("others", {})
        assert isinstance(others, dict)
        for name, content in others.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        services = more.pop("services", ())
        return load_project(
            ProjectOptions(**more),  # type: ignore[arg-type]
            environ or {},
            str(folder),
            services=services,  # type: ignore[arg-type]
        )

    return loaded
