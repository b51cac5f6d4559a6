"""Command lines of Kaniko's executor, as people write them, run unchanged by `tiffin kaniko-executor`."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cache_servers import running_s3, upload
from tests.support.certificates import make_authority
from tests.support.cli_runner import CliRunner
from tests.support.minimal_image import write_image
from tests.support.servers import Registry, running_registry
from tests.support.serving import serving_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
DOCKERFILE = """FROM {base} AS build
ARG VERSION=0
RUN echo "$VERSION" > /version
COPY . /src

FROM {base} AS final
COPY --from=build /version /version
COPY --from=build /src/app.txt /app.txt
CMD ["cat", "/app.txt"]
"""
# {{ctx}} is the directory of the sources, {{host}} a registry, {{base}} an image in it, {{out}} a directory for files
LINES = (
    # GitLab's documentation, in its forms of several years
    "--context {ctx} --dockerfile {ctx}/Dockerfile --destination {host}/group/app:v1.0",
    "--cache=true --cache-ttl=24h --context={ctx} --dockerfile={ctx}/Dockerfile --destination={host}/group/app:latest",
    "--context {ctx} --dockerfile {ctx}/Dockerfile --destination {host}/g/app:a --destination {host}/g/app:latest",
    "--registry-mirror {host} --context {ctx} --dockerfile Dockerfile --destination {host}/g/app:2",
    "--context {ctx} --dockerfile {ctx}/Dockerfile --no-push",
    "--cache=true --cache-repo {host}/g/app/cache --context {ctx} --destination {host}/g/app:3 --cleanup",
    "--context {ctx} --dockerfile {ctx}/Dockerfile --destination {host}/g/app:4 --build-arg VERSION=1.2 --build-arg NO",
    "--skip-tls-verify --context={ctx} --dockerfile=Dockerfile --destination={host}/g/app:5",
    "--insecure --skip-tls-verify --insecure-pull --skip-tls-verify-pull -c {ctx} -f Dockerfile -d {host}/g/app:6",
    "--log-format=text --verbosity=info --context {ctx} --destination {host}/g/app:7 --digest-file {out}/n",
    # pods of Kubernetes, Tekton's and Argo's tasks, Jenkins, Skaffold, Cloud Build
    "--dockerfile=Dockerfile --context=dir://{ctx} --destination={host}/demo:1 --cache=false --verbosity=debug",
    "--dockerfile=./Dockerfile --context={ctx} --destination={host}/demo:2 --digest-file={out}/image-digest",
    "--context=dir://{ctx}/ --dockerfile=Dockerfile --destination={host}/demo:3 --snapshotMode=redo --use-new-run",
    "-f Dockerfile -c {ctx} --cache=true -d {host}/demo:4 --snapshot-mode=time --compressed-caching=false",
    "--destination={host}/demo:5 --context={ctx} --target=build --skip-unused-stages --cache-copy-layers",
    "--destination={host}/demo:6 --context={ctx} --label org.example.revision=abc --label team=web --force",
    "--destination={host}/demo:7 --context={ctx} --single-snapshot --ignore-path=/product_uuid --ignore-var-run=false",
    "--destination={host}/demo:8 --context={ctx} --customPlatform=linux/amd64 --whitelist-var-run",
    "--destination={host}/demo:9 --context={ctx} --reproducible --push-retry 3 --image-fs-extract-retry=2",
    "--destination={host}/demo:10 --context={ctx} --image-download-retry=3 --credential-helpers= --compression=zstd",
    "--destination={host}/demo:11 --context={ctx} --compression-level=9 --cache-run-layers=false --cache-dir=/cache",
    "--destination={host}/demo:12 --context={ctx} --no-push-cache --cache --cache-repo={host}/demo/cache --materialize",
    "--destination={host}/demo:13 --context={ctx} --registry-map=quay.io={host};gcr.io={host} --log-timestamp",
    "--destination={host}/demo:14 --context={ctx} --insecure-registry={host} --skip-tls-verify-registry={host}",
    "--no-push --tarPath={out}/image.tar --context={ctx} --destination=image",
    "--no-push --tar-path {out}/image.tar --context {ctx}",
    "--no-push --oci-layout-path={out}/layout --context={ctx} --digest-file={out}/digest",
    "--destination={host}/demo:15 --context={ctx} --cache=true --cache-repo=oci:{out}/cache --pre-cleanup",
    "--destination={host}/demo:16 --context={ctx}/.. --context-sub-path=sources --preserve-context=true",
    "--destination={host}/demo:17 --context={ctx} --push-ignore-immutable-tag-errors=true --skip-push-permission-check",
    "--destination={host}/demo:18 --context={ctx} --image-format=docker --kaniko-dir {out}",
    # issues of Kaniko and of projects that use it, by their numbers: 3233, 3215, 616, 1910, 3322, 2730, 304, 359
    "--context {ctx} --single-snapshot --skip-unused-stages --snapshot-mode=redo --ignore-var-run --cache=true "
    "--use-new-run --build-arg APP_VERSION=1.0 --destination {host}/p/app:1.0",
    "--no-push --context {ctx} --single-snapshot --use-new-run --build-arg APP_VERSION=1.0",
    "--cache=true --cache-repo={host}/p/repo --context {ctx} --dockerfile {ctx}/Dockerfile --destination {host}/p/a:48 "
    "--destination {host}/p/a:latest",
    "--dockerfile {ctx}/Dockerfile --context dir://{ctx}/ --destination {host}/test --cache=true "
    "--cache-copy-layers=true",
    "--context={ctx} --dockerfile={ctx}/Dockerfile --no-push --tar-path={out}/cctrue.tar --compressed-caching=true",
    "--dockerfile=Dockerfile --context={ctx} --destination={host}/org/repo:tag --cache=true --cache-dir=/cache "
    "--compressed-caching=false --use-new-run --cleanup",
    "--verbosity debug --context {ctx} --dockerfile Dockerfile --destination {host}/p/b",
    "--dockerfile={ctx}/Dockerfile --destination={host}/p/c:test --context={ctx} --tarPath={out}/img.tar",
    # pages and tests of the fork that lives on
    "--dockerfile={ctx}/Dockerfile --context={ctx} --destination={host}/p/my-image --force",
    "--context {ctx} --dockerfile Dockerfile --destination={host}/p/boot:latest --cache=true --cache-copy-layers "
    "--cache-dir /cache/kaniko --cache-repo {host}/p/cache --build-arg=TARGETARCH=amd64 --target=build",
    "--dockerfile=Dockerfile --context={ctx} --destination={host}/p/d --cache --cache-dir=/cache",
    "--use-new-run=true -v=trace --context={ctx} --destination={host}/p/e --skip-unused-stages=false --cleanup",
    "--context={ctx} --destination={host}/p/f --target=final,build --ignore-path=/extra-file --ignore-path=/extra-dir",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A place where the executor runs: sources, files that it writes, a registry with a base image."""

    cli: CliRunner
    host: str
    base: str
    ctx: Path
    out: Path

    def executor(
        self,
        line: str | list[str],
        *,
        code: int = 0,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        words = self.filled(line).split() if isinstance(line, str) else line
        done: subprocess.CompletedProcess[bytes] = subprocess.run(  # type: ignore[call-overload]
            self.cli.argv("kaniko-executor", *words),
            capture_output=True,
            timeout=120,
            **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}),
            **self.cli.options(**(env or {})),
        )
        assert b"Traceback" not in done.stderr
        assert done.returncode == code, done.stderr.decode()
        return done

    def filled(self, text: str) -> str:
        return text.format(ctx=self.ctx, out=self.out, host=self.host, base=self.base)

    def digest(self, name: str) -> str:
        """Of a manifest in the registry, asked by a program of others."""
        argv = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{self.host}/{name}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def config(self, name: str) -> dict[str, object]:
        argv = ["skopeo", "inspect", "--tls-verify=false", "--config", f"docker://{self.host}/{name}"]
        found: dict[str, object] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
        return found

    def listing(self, name: str) -> str:
        """The files of an image, as `run` shows them."""
        done = self.cli.run("run", "--rm", "--pull", "always", f"{self.host}/{name}", "ls", "-1", "/src")
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def job(cli: CliRunner, registry: Registry) -> Iterator[Job]:
    base = f"{registry.host}/kaniko/base:1"
    write_image(cli.state, name=base)
    cli.own(cli.state / "images")
    assert cli.run("push", base).returncode == 0
    ctx, out = cli.folder / "sources", cli.folder / "out"
    ctx.mkdir()
    out.mkdir()
    (ctx / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    (ctx / "app.txt").write_text("the app\n")
    (ctx / "private.key").write_text("not for the image\n")
    (ctx / ".dockerignore").write_text("*.key\n")
    for folder in (ctx, out):
        cli.own(folder)
    yield Job(cli=cli, host=registry.host, base=base, ctx=ctx, out=out)
    shutil.rmtree(ctx)
    shutil.rmtree(out)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("cli", ["user"], indirect=True)
def test_a_line_runs_unchanged(line: str, job: Job) -> None:
    job.executor(line)


def test_what_was_built_is_pushed_and_its_digest_told(job: Job) -> None:
    job.executor(
        "--context {ctx} --destination {host}/told:1 --destination {host}/other:2 --digest-file {out}/new/d"
        " --image-name-with-digest-file {out}/n --image-name-tag-with-digest-file={out}/t --build-arg=VERSION=7"
        " --label=team=web --build-arg=NONE"
    )
    digest = job.digest("told:1")
    assert (job.out / "new/d").read_text() == digest == job.digest("other:2")
    assert (job.out / "n").read_text() == f"{job.host}/told@{digest}\n{job.host}/other@{digest}\n"
    assert (job.out / "t").read_text() == f"{job.host}/told:1@{digest}\n{job.host}/other:2@{digest}\n"
    assert job.config("told:1")["config"]["Labels"] == {"team": "web"}  # type: ignore[index]
    assert job.cli.output("--pull", "always", f"{job.host}/told:1", "cat", "/version", "/app.txt") == "7\nthe app\n"


def test_the_cache_in_a_registry_serves_a_machine_that_built_nothing(job: Job) -> None:
    line = "--context {ctx} --destination {host}/cached:1 --cache=true --digest-file {out}/d"
    job.executor(line)
    first = (job.out / "d").read_text()
    shutil.rmtree(job.cli.state / "cache", ignore_errors=True)
    assert job.cli.run("system", "reset", "-f").returncode == 0
    done = job.executor(line)
    assert b"CACHED (registry)" in done.stderr
    assert (job.out / "d").read_text() == first
    done = job.executor("--context {ctx} --destination {host}/cached:1")
    assert b"CACHED" not in done.stderr, "without --cache all steps run"


def archive(job: Job) -> Path:
    place = job.cli.folder / "context.tar.gz"
    with tarfile.open(place, "w:gz") as tar:
        tar.add(job.ctx, "sources")
    job.cli.own(place)
    return place


def test_contexts_in_archives_are_as_their_directory(job: Job, tmp_path: Path) -> None:
    """The ignore file counts and a directory of it can be the root, whatever the context comes from."""
    place = archive(job)
    with serving_folder(place.parent) as address, running_s3(tmp_path) as bucket:
        contexts = {
            "dir": f"dir://{job.ctx.parent}",
            "tar": f"tar://{place}",
            "stdin": "tar://stdin",
            "https": f"{address}/{place.name}",
            "s3": upload(bucket, place),
        }
        aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
        env = {**aws, "S3_ENDPOINT": bucket.url, "S3_FORCE_PATH_STYLE": "true"}
        for name, context in contexts.items():
            line = (
                f"--context {context} --context-sub-path=sources --target build --digest-file {job.out}/{name}"
                f" --destination {job.host}/forms:{name} --reproducible"
            )
            job.executor(line, input=place.read_bytes() if name == "stdin" else None, env=env)
    assert len({(job.out / name).read_text() for name in contexts}) == 1
    assert job.listing("forms:tar") == "Dockerfile\napp.txt\n"


def test_a_repository_is_cloned_by_its_git_url(job: Job, tmp_path: Path) -> None:
    work = shutil.copytree(job.ctx, tmp_path / "work")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(work)]
    for words in (["init", "-q", "-b", "main"], ["add", "-f", "."], ["commit", "-qm", "one"], ["branch", "other"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(tmp_path / "team/app.git")], check=True)
    subprocess.run(["git", "-C", str(tmp_path / "team/app.git"), "update-server-info"], check=True)
    with serving_folder(tmp_path) as address:
        host = address.partition("://")[2]
        for fragment in ("", "#refs/heads/other"):
            context = f"git://{host}/team/app.git{fragment}"
            job.executor(
                ["--context", context, "--destination", f"{job.host}/git:1", "--target", "build"],
                env={"GIT_PULL_METHOD": "http"},
            )
    assert job.listing("git:1") == "Dockerfile\napp.txt\n"


def test_credentials_lie_where_kaniko_has_them(job: Job, tmp_path: Path) -> None:
    place = job.cli.folder / "kaniko"
    (place / ".docker").mkdir(parents=True)
    with running_registry(tmp_path, htpasswd=("who", "s3cret")) as private:
        (place / ".docker/config.json").write_text(
            json.dumps({"auths": {private.host: {"username": "who", "password": "s3cret"}}})
        )
        job.cli.own(place)
        line = f"--context {job.ctx} --destination {private.host}/app:1"
        job.executor(line, code=1)
        job.executor(line, env={"KANIKO_DIR": str(place)})
        job.executor(f"{line} --kaniko-dir {place}")
    shutil.rmtree(place)


def test_certificates_are_given_by_registry(job: Job, tmp_path: Path) -> None:
    ca = make_authority(tmp_path / "ca")
    pair = ca.issue("registry")
    trusted = job.out / "ca.crt"
    shutil.copy(ca.certificate, trusted)
    job.cli.own(job.out)
    with running_registry(tmp_path, certificate=pair) as secure:
        line = f"--context {job.ctx} --destination {secure.host}/app:1"
        job.executor(line + " --insecure-registry none", code=1)
        job.executor(f"{line} --registry-certificate {secure.host}={trusted}")


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("--context {ctx}", "there is no --destination"),
        ("--context gs://bucket/a.tgz --no-push", "no client of Google's storage"),
        ("--context ftp://x/a.tgz --no-push", '"ftp://" is unknown'),
        ("--context {ctx} --no-push --cache", "--cache-repo"),
        ("--context {ctx} --no-push --dryrun", "--dryrun"),
        ("--context {ctx}/nothere --no-push", "nothere"),
        ("--context tar://{ctx}/no.tar --no-push", "no.tar"),
        ("--context {ctx} --no-push --git=branch", "--git"),
        ("--context {ctx} --no-push --registry-certificate x=/no/such", "/no/such"),
        ("--context {ctx} --no-push --dockerfile No.such", "No.such"),
        ("--context {ctx} --destination Upper:1", "Upper"),
        ("build .", "not a command of the executor"),
    ],
)
def test_a_bad_line_is_refused_by_name(line: str, part: str, job: Job) -> None:
    words = job.filled(line).split()
    done = subprocess.run(  # type: ignore[call-overload]
        job.cli.argv("kaniko-executor", *words), capture_output=True, text=True, timeout=60, **job.cli.options()
    )
    assert done.returncode in (1, 2)
    assert part in done.stderr and "Traceback" not in done.stderr


def test_a_step_that_fails_ends_it(job: Job) -> None:
    (job.ctx / "Dockerfile").write_text(f"FROM {job.base}\nRUN exit 7\n")
    assert b"exit 7" in job.executor("--context {ctx} --destination {host}/app:no", code=1).stderr
