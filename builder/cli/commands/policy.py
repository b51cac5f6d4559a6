"""tiffin policy init | eval | test, policy audit verify."""

from __future__ import annotations

from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text, Word
from tiffin.builder.cli.output.console import print_error, print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class InitArguments(Arguments):
    """What may stand on the line."""

    file = Word("FILE", "-")


class EvalArguments(RegistryArguments):
    """What may stand on the line."""

    source = Word("SOURCE")
    file = Text("-f", "--file", "--filename", metavar="FILE", help="Policy, or a Dockerfile whose .rego it is.")
    policies = Many("--policy", metavar="FILE", help="Policy; repeatable.")
    platform = Text("--platform", metavar="OS/ARCH", help="Platform of an image.")
    operation = Text("--operation", choices=("build", "pull", "run"), default="build", help="What it is wanted for.")
    printed = Flag("--print", help="Print what a policy in Rego is asked, and judge nothing.")
    fields = Text("--fields", metavar="NAME,…", help="With --print: look these up.")
    offline = Flag("--offline", help="Judge the name alone, and look nothing up.")


class TestArguments(Arguments):
    """What may stand on the line."""

    path = Word("PATH")
    filename = Text("--filename", metavar="FILE", default="Dockerfile", help="With a directory: whose .rego it is.")
    only = Text("--run", metavar="TEXT", help="Only tests with this in their name.")


class VerifyArguments(Arguments):
    """What may stand on the line."""

    file = Word("FILE")
    head = Text("--head", metavar="HEAD", help="Head that was kept elsewhere: number of lines and hash.")


def init(session: Session, line: InitArguments) -> None:
    """Write a policy to begin with."""
    from pathlib import Path

    from tiffin.builder.api.rules.policies import template
    from tiffin.builder.errors import UsageError

    if line.file == "-":
        print_result(template().rstrip("\n"))
        return
    try:
        with Path(line.file).open("x") as stream:
            stream.write(template())
    except OSError as exc:
        raise UsageError(f"cannot write {line.file}: {exc.strerror}", remedy="name a new file") from exc


def evaluate(session: Session, line: EvalArguments) -> None:
    """Judge a source. Raises TiffinError."""
    import json
    from pathlib import Path

    from tiffin.builder.api.rules.policies import document_for, evaluate, subject_for
    from tiffin.builder.errors import UsageError
    from tiffin.builder.events import NullSink
    from tiffin.builder.oci.spec import Platform

    platform = Platform.parse(line.platform) if line.platform else Platform.local()
    subject = subject_for(line.source, platform, line.operation)
    access, sink = line.registry_access(), NullSink()
    if line.printed:
        print_result(json.dumps(document_for(subject, session, sink, access, line.fields), indent=2))
        return
    beside = f"{line.file or 'Dockerfile'}.rego"
    policies = list(line.policies)
    if line.file.endswith((".rego", ".toml", ".json")):
        policies.append(line.file)
    elif Path(beside).exists():
        policies.append(beside)
    if not policies:
        raise UsageError("there is no policy", remedy="name one with --policy FILE")
    evaluate(subject, policies, session, sink, access, looks=not line.offline)


def test(session: Session, line: TestArguments) -> int | None:
    """Run tests. Raises TiffinError."""
    from pathlib import Path

    from tiffin.builder.api.rules.policies import run_tests, tests_at
    from tiffin.builder.errors import UsageError

    policy, files = tests_at(Path(line.path), line.filename)
    outcomes = list(run_tests(policy, files, line.only))
    if not outcomes:
        raise UsageError(f"{policy} has no tests", remedy="write test_… rules, or cases into NAME_test.toml")
    for outcome in outcomes:
        print_result(f"{outcome.name}: {f'FAIL ({outcome.reason})' if outcome.reason else 'PASS'}")
    return 1 if any(outcome.reason for outcome in outcomes) else None


def verify(session: Session, line: VerifyArguments) -> int | None:
    """Check an audit log. Raises TiffinError."""
    from pathlib import Path

    from tiffin.builder.policy.audit import parse_head
    from tiffin.builder.policy.audit import verify as check

    head, problems = check(Path(line.file), parse_head(line.head) if line.head else None)
    for problem in problems:
        print_error(f"error: {problem}")
    print_result(str(head))
    return 1 if problems else None


COMMANDS = (
    Group("policy", about="Policies: what may come in and go out.", section=BUILDS),
    Command(
        "policy init",
        InitArguments,
        init,
        about="Write a policy to begin with.",
        section=BUILDS,
        examples=("tiffin policy init policy.toml",),
    ),
    Command(
        "policy eval",
        EvalArguments,
        evaluate,
        about="Judge a source by a policy.",
        help="Judge an image, a URL, a repository or a directory. Nothing is printed where it is allowed; exit code 3 "
        "where it is denied.",
        section=BUILDS,
        examples=(
            "tiffin policy eval --policy policy.toml docker-image://debian:12",
            "tiffin policy eval --print https://github.com/moby/buildkit.git",
        ),
        aliases=("buildx policy eval",),
    ),
    Command(
        "policy test",
        TestArguments,
        test,
        about="Run the tests of a policy.",
        help="Run the rules test_… of a policy in Rego, or the cases of NAME_test.toml beside NAME.toml.",
        section=BUILDS,
        examples=("tiffin policy test .", "tiffin policy test policy.toml"),
        aliases=("buildx policy test",),
    ),
    Group("buildx policy", about="Policies of builds.", section=BUILDS),
    Group("policy audit", about="The log of what was decided and done.", section=BUILDS),
    Command(
        "policy audit verify",
        VerifyArguments,
        verify,
        about="Check that no line of an audit log was changed.",
        help="Check each line of an audit log against the one before it, and the last one against FILE.head or --head. "
        "Prints the head.",
        section=BUILDS,
        examples=("tiffin policy audit verify /var/log/tiffin/audit.jsonl",),
    ),
)
