"""The contents page of the language: keyword to class. FROM is apart, as it begins a stage instead of changing one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tiffin.builder.instructions.base import InstructionClass
from tiffin.builder.instructions.copy import Copy
from tiffin.builder.instructions.metadata import (
    Cmd,
    Entrypoint,
    Expose,
    HealthcheckInstruction,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
)
from tiffin.builder.instructions.run import Run
from tiffin.builder.instructions.variables import Arg, Env, Label
from tiffin.builder.instructions.workdir import Workdir

KEYWORDS: Mapping[str, type[InstructionClass]] = MappingProxyType(
    {
        "ADD": Copy,
        "ARG": Arg,
        "CMD": Cmd,
        "COPY": Copy,
        "ENTRYPOINT": Entrypoint,
        "ENV": Env,
        "EXPOSE": Expose,
        "HEALTHCHECK": HealthcheckInstruction,
        "LABEL": Label,
        "MAINTAINER": Maintainer,
        "ONBUILD": OnBuild,
        "RUN": Run,
        "SHELL": Shell,
        "STOPSIGNAL": StopSignal,
        "USER": User,
        "VOLUME": Volume,
        "WORKDIR": Workdir,
    }
)
