"""Build checks that BuildKit lacks and users want; like those of lint.py, they need nothing but the parsed file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tiffin.builder.dockerfile.lint_base import Check, Finding, finding, named, names_of, stages
from tiffin.builder.dockerfile.parser import Dockerfile, Instruction

APT_INSTALL = r"\bapt(?:-get)?\s+(?:-\S+\s+)*install\b"
APT_CLEAN = r"\brm\s+-\S*r\S*\s+[^;&|]*/var/lib/apt/lists|\bapt-dist-clean\b|/var/lib/apt/lists/?\*?\s+-delete"
APT_MOUNT = r"(?:target|dst|destination)=/var/(?:lib/apt|cache/apt)|(?:target|dst|destination)=/var/lib\b"
INSTALLS = (
    r"\b(?:npm\s+(?:ci|install|i)\b|yarn(?:\s+install)?\b|pnpm\s+(?:i|install)\b|pip3?\s+install\s+.*-r\b|poetry\s+install\b"
    r"|bundle\s+install\b|go\s+mod\s+download\b|composer\s+install\b|mvn\s+\S*\s*dependency:|cargo\s+fetch\b)"
)
WHOLE_CONTEXT = (".", "./", "/", "*")


def apt_lists_left(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(dockerfile.instructions, "RUN"):
        text = node.value + "".join(heredoc.content for heredoc in node.heredocs)
        mounted = any(re.search(APT_MOUNT, flag.value or "") for flag in node.flags if flag.name == "mount")
        if re.search(APT_INSTALL, text) and not re.search(APT_CLEAN, text) and not mounted:
            message = (
                "Package lists stay in the layer: remove /var/lib/apt/lists/* in the same RUN, or mount a cache there"
            )
            yield finding(node, "AptListsLeft", message)


def copy_all_before_install(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        for number, node in enumerate(stage.body):
            if node.keyword != "COPY" or any(flag.name == "from" for flag in node.flags) or node.heredocs:
                continue
            words = node.json if node.json is not None else tuple(node.value.split())
            later = named(stage.body[number + 1 :], "RUN")
            if any(word in WHOLE_CONTEXT for word in words[:-1]) and _installs(later):
                message = (
                    "The whole context is copied before dependencies are installed: any change installs them again"
                )
                yield finding(node, "CopyAllBeforeInstall", message)


def _installs(runs: Iterable[Instruction]) -> bool:
    return any(re.search(INSTALLS, run.value) for run in runs)


def arg_shadows_env(dockerfile: Dockerfile) -> Iterator[Finding]:
    for stage in stages(dockerfile):
        env: set[str] = set()
        for node in named(stage.body, "ARG", "ENV"):
            for name in names_of(node):
                if node.keyword == "ENV":
                    env.add(name)
                elif name in env:
                    message = f"ARG '{name}' hides the ENV of that name from later instructions, but not in the image"
                    yield finding(node, "ArgShadowsEnv", message)


def double_star_in_copy_source(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(dockerfile.instructions, "COPY", "ADD"):
        words = node.json if node.json is not None else tuple(node.value.split())
        parents = any(flag.name == "parents" for flag in node.flags)
        for word in words[:-1]:
            if "**" in word and not parents and not node.heredocs:
                message = (
                    f"'**' in '{word}' is like '*': only --parents and --exclude take it as any number of directories"
                )
                yield finding(node, "DoubleStarInCopySource", message)


def invalid_definition_description(dockerfile: Dockerfile) -> Iterator[Finding]:
    for node in named(dockerfile.instructions, "FROM", "ARG"):
        names = _defined(node)
        text = node.comments[-1] if node.comments else ""
        if names and text and text.split(" ", 1)[0] not in names:
            example = names[0] if len(names) == 1 else "<arg_key>"
            message = f"Comment for {node.keyword} should follow the format: `# {example} <description>`"
            yield finding(node, "InvalidDefinitionDescription", message)


def _defined(node: Instruction) -> Sequence[str]:
    if node.keyword == "ARG":
        return names_of(node)
    words = node.value.split()
    return [word.lower() for word in words[2:3]] if len(words) == 3 else ()


CHECKS: Sequence[Check] = (
    apt_lists_left,
    copy_all_before_install,
    arg_shadows_env,
    double_star_in_copy_source,
    invalid_definition_description,
)
