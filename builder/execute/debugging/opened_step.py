"""Open a step: the sandbox in which its command would run, over its layers, for another command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tiffin.builder.execute.emulation import Emulation
from tiffin.builder.execute.executor import StepExecutor
from tiffin.builder.execute.run_step import ROOT_MODE, RunRequest
from tiffin.builder.execute.steps import StepTask
from tiffin.builder.instructions.ops import RunOp
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.launch import StepAbandoned
from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes
from tiffin.cache.foundation.frozen import replace


class StepOpener(StepExecutor):
    """Opens steps; keeps nothing of what is done there."""

    @contextmanager
    def opened(self, task: StepTask, scratch: Path) -> Iterator[SandboxSpec]:
        """Yield the sandbox of a RUN over the layers of `task`; `scratch` is an empty directory. Raises BuildError."""
        step, emulator = task.stage.steps[task.number], self._step_context.emulator
        assert isinstance(step.op, RunOp) and emulator is not None
        emulation, tries = emulator.demanded(step.op, task.chain, task.sources, step.span), 0
        with ExitStack() as stack:
            while True:
                own = stack.enter_context(ExitStack())
                place = scratch / str(tries)
                place.mkdir()
                place.chmod(ROOT_MODE)
                try:
                    spec = self._made_ready(task, step.op, emulation, place, own)
                    break
                except StepAbandoned as abandoned:
                    own.close()
                    tries += 1
                    number = task.stage.label(task.number).partition("]")[0] + "]"
                    emulation = emulator.more(emulation, abandoned, number, step.span)
            yield replace(spec, abandons=False)  # nothing would run it again with more

    def _made_ready(
        self, task: StepTask, op: RunOp, emulation: Emulation, scratch: Path, stack: ExitStack
    ) -> SandboxSpec:
        """Return the sandbox; `stack` holds what it needs. Raises StepAbandoned where it needs more emulation."""
        runner = self._step_context.runner
        assert runner is not None
        span = task.stage.steps[task.number].span
        request = RunRequest(op=op, step_id=task.step_id, scratch=scratch, span=span, emulation=emulation)
        roots = self._step_context.roots if not emulation.owners or self._emulated is None else self._emulated.roots
        if roots is not None:
            copied, aside = stack.enter_context(roots.take(task.chain)), scratch / "aside"
            aside.mkdir()
            spec, _ = stack.enter_context(self._mounted(task, replace(request, root_dir=copied.path)))
            places = stack.enter_context(MountSubstitutes(copied.path, aside))
            return runner.isolation.tier.prepare_root(spec, places)
        lower_dirs = self._trees_below(task, emulated=emulation.owners)
        self._ask_again(task, op, emulation)
        spec, _ = stack.enter_context(self._mounted(task, request.over(lower_dirs)))
        return spec
