"""tiffin build."""

from __future__ import annotations

from tiffin.builder.cli.actions import build
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.click_command import rows_command

command = rows_command(
    "build",
    BuildArguments,
    build,
    help="Build an image from the Dockerfile and the files in CONTEXT.",
    examples=(
        "tiffin build -t app .",
        "tiffin build --push -t registry.example/app:1 .",
        "tiffin build --target test --build-arg VERSION=2 .",
        "tiffin build -o type=oci,dest=app.tar .",
    ),
)
