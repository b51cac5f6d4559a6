"""What tiffin bake does with a line: it prints, lists, asks, or builds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.api.bake.building import build_all
from tiffin.builder.api.bake.definitions import Definition, Request, read_definition
from tiffin.builder.api.bake.jobs import Job, Outcome, needed_by
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.session import Session
from tiffin.builder.bake.definition import Target, printed
from tiffin.builder.bake.entitlements import Grants, check, read_grants
from tiffin.builder.bake.entries import attest_text
from tiffin.builder.bake.fields import ARGS, CALL, CONTEXT
from tiffin.builder.bake.inputs import Inputs, inputs_of
from tiffin.builder.bake.resolving import Resolved, resolve
from tiffin.builder.cli.bake.lines import target_options
from tiffin.builder.cli.bake.lists import show_list
from tiffin.builder.cli.options.bake_arguments import BakeArguments
from tiffin.builder.cli.options.call import CHECK, LINT, parse_call
from tiffin.builder.cli.output.console import print_error, print_result, refuse_terminal
from tiffin.builder.cli.output.errors import describe
from tiffin.builder.cli.output.render import make_renderer, traced
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.delivery.output_spec import STDOUT
from tiffin.builder.delivery.outputs import BuildResult
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.events import InfoMessage, NullSink, Sink, WarningMessage
from tiffin.cache.foundation.frozen import replace

BUILD = "build"
EPOCH = "SOURCE_DATE_EPOCH"
EXIT_FOUND = 1


def run(session: Session, line: BakeArguments) -> int | None:
    """Do what a line says; return the exit code. Raises TiffinError."""
    call = CHECK if line.check else line.call
    parse_call(call)
    listed = line.listed or ("targets" if line.list_targets else "variables" if line.list_variables else "")
    if listed and line.print_only:
        raise UsageError("--print and --list are mutually exclusive", remedy="give one of them")
    if line.metadata_file:
        Path(line.metadata_file).unlink(missing_ok=True)
    request = Request(
        files=line.files,
        variables=line.variables,
        words=line.words,
        environ=os.environ,
        directory=str(Path.cwd()),
    )
    with traced(make_renderer(quiet_if(line.print_only or bool(listed), line.progress)), "bake") as sink:
        for message in line.notices():
            sink.emit(WarningMessage(message=message))
        definition = read_definition(request, session, sink)
        if listed:
            show_list(definition.config, listed)
            return None
        asked = _Asked(definition, line, call)
        if line.print_only:
            print_result(printed(asked.resolved.targets, asked.resolved.groups))
            return None
        asked.check(request)
        if asked.calls:
            return asked.answer(session, sink)
        asked.build(session, sink)
        return None


def options_of_target(session: Session, line: BakeArguments, name: str) -> BuildOptions:
    """Return the options of the one target that a line, or `name`, asks for. Raises UsageError for several."""
    words = (name,) if name else line.words
    request = Request(
        files=line.files, variables=line.variables, words=words, environ=os.environ, directory=str(Path.cwd())
    )
    asked = _Asked(read_definition(request, session, NullSink()), line, BUILD)
    asked.check(request)
    jobs = [asked.job(target) for target in asked.resolved.targets.values()]
    if len(jobs) != 1:
        names = ", ".join(sorted(job.name for job in jobs))
        raise UsageError(f"one target can be debugged, and these are meant: {names}", remedy="name one that needs none")
    return jobs[0].options


def _args(target: Target) -> dict[str, str | None]:
    """Return the build arguments of a target, with the time of everything made where the caller has one."""
    args, moment = target.get(ARGS) or {}, os.environ.get(EPOCH)
    return {EPOCH: moment, **args} if moment else args


class _Asked:
    """The targets that a line asks for."""

    def __init__(self, definition: Definition, line: BakeArguments, call: str) -> None:
        found = resolve(
            definition.config, definition.targets, [*line.sets, *_sets(line, call)], definition.surroundings.look_up
        )
        self._line = line
        self._call, self._as_json = parse_call(call)
        self._definition = definition
        self._grants: Grants = read_grants([*line.allowed, *found.granted], definition.surroundings.directory)
        self._inputs: Mapping[str, Inputs] = {
            name: inputs_of(target, definition.remote) for name, target in found.targets.items()
        }
        targets = {
            name: target.having(**{CONTEXT: self._inputs[name].context, ARGS: _args(target)})
            for name, target in found.targets.items()
        }
        self.resolved: Resolved = replace(found, targets=targets)
        self.calls = {
            name: call_name
            for name, target in sorted(targets.items())
            if (call_name := _call_of(target)) and not target.is_linked
        }

    def check(self, request: Request) -> None:
        """Raise UsageError for what no --allow grants."""
        check(self.resolved.targets, self._inputs, self._grants, request.environ, remote=bool(self._definition.remote))

    def job(self, target: Target) -> Job:
        """Return what a target asks for."""
        inputs = self._inputs[target.name]
        given: dict[str, Any] = {
            row.field: row.on(self._line) for row in self._line.rows if row.field in SHARED and row.on(self._line)
        }
        options = target_options(target, inputs, self._grants, given)
        if self._definition.is_beside(inputs.context):
            options = replace(options, secrets={**self._definition.secrets, **options.secrets})
        return Job(name=target.name, options=options, needs=inputs.needs)

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer(self, session: Session, sink: Sink) -> int | None:
        """Print the answers to what is asked of each target; return an exit code."""
        from tiffin.builder.cli.output import subrequests

        documents: dict[str, dict[str, object]] = {}
        failed = False
        jobs = {name: self.job(target) for name, target in self.resolved.targets.items()}
        results = self._needed_results(jobs, session, sink)
        for name, call in self.calls.items():
            target = self.resolved.targets[name]
            options = jobs[name].options_with(results, is_needed=False)
            if self._as_json:
                document, is_well = subrequests.answer(call, options, session, sink)
                documents[name] = {call: document}
                failed = failed or not is_well
                continue
            print_result("\n".join([*[""] * bool(documents), name, *filter(None, [target.get("description")]), ""]))
            documents[name] = {}
            try:
                subrequests.show(call, options, session, sink, as_json=False)
            except SystemExit:
                failed = True
            except TiffinError as exc:
                print_result(f"error: {exc}")
                failed = True
        if self._as_json:
            print_result(json.dumps(self._document(documents), indent=2))
        return EXIT_FOUND if failed else None

    def _needed_results(self, jobs: Mapping[str, Job], session: Session, sink: Sink) -> dict[str, BuildResult]:
        """Build what the targets stand on that are asked about: their bases have to be there. Raises TiffinError."""
        names = needed_by(jobs, self.calls)
        outcomes = build_all([jobs[name] for name in names], session, sink, needed=names)
        self._tell(outcomes, sink)
        return {name: outcome.result for name, outcome in outcomes.items() if outcome.result is not None}

    def _document(self, answers: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        groups = {name: group.document() for name, group in sorted(self.resolved.groups.items())}
        targets = {
            name: {"build": target.document(), **answers.get(name, {})}
            for name, target in sorted(self.resolved.targets.items())
        }
        return {"group": groups, "target": targets}

    # -- builds --------------------------------------------------------------------------------------------------------

    def build(self, session: Session, sink: Sink) -> None:
        """Build all of them. Raises TiffinError."""
        jobs = [self.job(target) for target in self.resolved.targets.values()]
        _check_stdout(jobs)
        outcomes = build_all(jobs, session, sink, keeps_going=self._line.keep_going)
        if self._line.metadata_file:
            metadata = {name: outcome.result.metadata for name, outcome in sorted(outcomes.items()) if outcome.result}
            Path(self._line.metadata_file).write_text(json.dumps(metadata, indent=2) + "\n")
        self._tell(outcomes, sink)

    def _tell(self, outcomes: Mapping[str, Outcome], sink: Sink) -> None:
        """Tell what was not built; raise the last error."""
        left = sorted(name for name, outcome in outcomes.items() if outcome == Outcome())
        errors: list[TiffinError] = []
        for name, outcome in outcomes.items():
            if outcome.error is not None:
                outcome.error.within(f"target {name}")
                errors.append(outcome.error)
        if left and errors:
            sink.emit(InfoMessage(message=f"not built: {', '.join(left)}"))
        for error in errors[:-1]:
            print_error(describe(error))
        if errors:
            raise errors[-1]


# members of the line that each build has
SHARED = (
    "farm",
    "farm_tls_ca",
    "farm_tls_cert",
    "farm_tls_key",
    "sign_key",
    "insecure",
    "cert",
    "registry_mirrors",
    "policies",
    "audit_log",
    "locked",
    "lock_file",
    "frozen",
    "egress",
)


def _check_stdout(jobs: Sequence[Job]) -> None:
    """Raise UsageError where more than one archive would go to stdout, or one to a terminal."""
    names = [job.name for job in jobs for spec in job.options.outputs if spec.dest == STDOUT]
    if len(names) > 1:
        raise UsageError(f"the outputs of {' and '.join(names)} go to stdout", remedy="give each a file with dest=")
    for name in names:
        refuse_terminal(STDOUT, f"give the output of {name} a file with dest=")


def _sets(line: BakeArguments, call: str) -> list[str]:
    """Return what options stand for, as --set has it."""
    found = []
    if line.push:
        found.append("*.push=true")
    if line.load:
        found.append("*.load=true")
    name = call.split(",")[0]
    if name != BUILD:
        found.append(f"*.call={LINT if name == CHECK else name}")
    found += [f"*.{name}={text}" for name, text in (("no-cache", line.no_cache), ("pull", line.pull)) if text]
    for kind, text in (("sbom", line.sbom), ("provenance", line.provenance)):
        if text:
            found.append(f"*.attest={attest_text(kind, text)}")
    return found


def _call_of(target: Target) -> str:
    """Return what is asked of a target, "" where it is to be built. Raises UsageError."""
    text = target.get(CALL) or BUILD
    name, _ = parse_call(text)
    return "" if name == BUILD else name
