"""Variables of the environment that docker, buildx and BuildKit read, and what becomes of each; docs/variables.md."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.cli.options.option import DONE, REFUSED, WITHOUT_EFFECT
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

NO_DAEMON = "There is no daemon."
IN_STATE = "Names of builders are in tiffin's state directory."
FOR_DEVELOPERS = "It is for those who work on docker."
SWITCHED_OFF = ("", "0", "f", "false")  # of strconv.ParseBool, in small letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One of them. `group` is whose it is; one that is refused stops a build where it is set to more than "off"."""

    group: str
    name: str
    about: str
    effect: str = DONE
    remedy: str = ""


def _rows(group: str, effect: str, texts: Mapping[str, str]) -> tuple[Variable, ...]:
    return tuple(Variable(group=group, name=name, about=about, effect=effect) for name, about in texts.items())


DOCKER, BUILDX, BUILDKIT, COMPOSE, ARGUMENTS, JOBS, OTHERS = GROUPS = (
    "docker", "buildx", "BuildKit", "compose", "Build arguments (--build-arg)", "Places where jobs run", "Everywhere",
)  # fmt: skip
VARIABLES: tuple[Variable, ...] = (
    *_rows(DOCKER, DONE, {
        "DOCKER_AUTH_CONFIG": "Credentials, as the text of a config.json.",
        "DOCKER_CONFIG": "The directory of config.json.",
        "DOCKER_DEFAULT_PLATFORM": "What `--platform` is for build, pull, run and create where it is not given.",
        "DOCKER_BUILD_SUMMARY": "`false`: nothing is added to the summary of GitHub's job.",
    }),
    *_rows(DOCKER, WITHOUT_EFFECT, {
        "DOCKER_API_VERSION": NO_DAEMON,
        "DOCKER_BUILDKIT": "There is one way to build; it takes what BuildKit takes.",
        "DOCKER_CERT_PATH": NO_DAEMON,
        "DOCKER_CLI_EXPERIMENTAL": "All there is can be used.",
        "DOCKER_CLI_HINTS": "There are no hints.",
        "DOCKER_CONTENT_TRUST_SERVER": "Nothing asks it.",
        "DOCKER_CONTEXT": NO_DAEMON,
        "DOCKER_CUSTOM_HEADERS": NO_DAEMON,
        "DOCKER_DRIVER": "It is dockerd's.",
        "DOCKER_HIDE_LEGACY_COMMANDS": "It is about docker's help.",
        "DOCKER_HOST": "There is no daemon: jobs that name one build on their own machine.",
        "DOCKER_SCAN_SUGGEST": "There are no hints.",
        "DOCKER_TLS": NO_DAEMON,
        "DOCKER_TLS_CERTDIR": "It is of docker's image for docker in docker.",
        "DOCKER_TLS_VERIFY": NO_DAEMON,
    }),
    Variable(group=DOCKER, name="DOCKER_CONTENT_TRUST", effect=REFUSED,
        about="tiffin checks no signatures of Notary, so it does not act as if.",
        remedy="unset it, and name images by digest"),
    *_rows(BUILDX, DONE, {
        "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP": "`1`: variables of bake files are not read from the environment.",
        "BUILDX_BAKE_ENTITLEMENTS_FS": "`0`: bake does not ask for `--allow` of paths.",
        "BAKE_ALLOW_REMOTE_FS_ACCESS": "`1`: the same, for definitions from elsewhere.",
        "BUILDX_BAKE_FILE": "The files of bake where no `-f` is given.",
        "BUILDX_BAKE_FILE_RELATIVE_PATHS": "`1`: contexts of bake begin where their file is.",
        "BUILDX_BAKE_GIT_AUTH_HEADER": "Shown to the server of a definition from git.",
        "BUILDX_BAKE_GIT_AUTH_TOKEN": "The same, as a token.",
        "BUILDX_BAKE_GIT_SSH": "The socket of the ssh agent for such a definition.",
        "BUILDX_BAKE_PATH_SEPARATOR": "What stands between the files of `BUILDX_BAKE_FILE` (`:`).",
        "BUILDX_BUILDER": "The builder that `buildx inspect` and `buildx ls` show where none is named.",
        "BUILDX_GIT_CHECK_DIRTY": "`1`: the label with the commit ends in `-dirty` where the work tree differs.",
        "BUILDX_GIT_LABELS": "`1`: labels with the commit and the Dockerfile's place; `full`: with the repository.",
        "BUILDX_METADATA_PROVENANCE": "The provenance that `--metadata-file` holds: `min` (default), `max`, `false`.",
        "BUILDX_METADATA_WARNINGS": "`1`: `--metadata-file` holds the findings of build checks.",
        "BUILDX_NO_DEFAULT_LOAD": "`1`: a build without an output stores no image.",
    }),
    *_rows(BUILDX, WITHOUT_EFFECT, {
        "BUILDX_CONFIG": IN_STATE,
        "BUILDX_CPU_PROFILE": f"{FOR_DEVELOPERS} See `--profile`.",
        "BUILDX_EXPERIMENTAL": "All there is can be used.",
        "BUILDX_GIT_INFO": "The provenance names no local repository.",
        "BUILDX_MEM_PROFILE": FOR_DEVELOPERS,
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "A provenance is made where it is asked for, with or without it.",
        "BUILDX_NO_DEFAULT_OCI_ARTIFACT": "Attestations refer to their image, or `--attest-form=index`.",
    }),
    *_rows(BUILDKIT, DONE, {
        "BUILDKIT_COLORS": "Colours of the live view: `run`, `cancel`, `error`, `warning`.",
        "BUILDKIT_PROGRESS": "What `--progress` is where it is not given.",
        "BUILDKIT_TTY_LOG_LINES": "Lines of output of each step in the live view (6).",
    }),
    *_rows(BUILDKIT, DONE, {
        "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL": "The account of `type=azblob`.",
        "BUILDKIT_AZURE_STORAGE_CONTAINER": "Its container.",
        "BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY": "Its key.",
    }),
    *_rows(BUILDKIT, WITHOUT_EFFECT, {
        "BUILDKIT_HOST": NO_DAEMON,
        "BUILDKIT_NO_CLIENT_TOKEN": "Tokens are always asked for here.",
    }),
    Variable(group=BUILDKIT, name="EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", effect=REFUSED,
        about="Source policies are not evaluated, so a build would use what a policy forbids.",
        remedy="unset it, and name images by digest"),
    *_rows(COMPOSE, DONE, {
        "COMPOSE_ANSI": "What `--ansi` is where it is not given.",
        "COMPOSE_COMPATIBILITY": "`true`: names have underscores, as those of docker-compose 1.",
        "COMPOSE_DISABLE_ENV_FILE": "`true`: .env is not read.",
        "COMPOSE_ENV_FILES": "Files in the place of .env, with commas between them.",
        "COMPOSE_FILE": "The compose files where no `-f` is given.",
        "COMPOSE_IGNORE_ORPHANS": "`true`: nothing is said of containers whose services the files no longer have.",
        "COMPOSE_PARALLEL_LIMIT": "What `--parallel` is where it is not given.",
        "COMPOSE_PATH_SEPARATOR": "What stands between the files of `COMPOSE_FILE` (`:`).",
        "COMPOSE_PROFILES": "The profiles that are active where no `--profile` is given.",
        "COMPOSE_PROGRESS": "What `--progress` is where it is not given.",
        "COMPOSE_PROJECT_NAME": "The name of the project where no `-p` is given.",
        "COMPOSE_REMOVE_ORPHANS": "`true`: such containers are removed.",
    }),
    *_rows(COMPOSE, WITHOUT_EFFECT, {
        "COMPOSE_BAKE": "There is one way to build.",
        "COMPOSE_CONVERT_WINDOWS_PATHS": "Paths are those of Linux.",
        "COMPOSE_EXPERIMENTAL": "All there is can be used.",
        "COMPOSE_HTTP_TIMEOUT": NO_DAEMON,
        "COMPOSE_MENU": "There is no menu of keys.",
        "COMPOSE_STATUS_STDOUT": "Progress is on stderr.",
    }),
    *_rows(ARGUMENTS, DONE, {
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR": "`1`: a context that is a repository has its .git.",
        "BUILDKIT_DOCKERFILE_CHECK": "What `# check=` would say.",
        "BUILDKIT_INLINE_CACHE": "`1`: the image holds its cache records, as with `--cache-to type=inline`.",
        "BUILDKIT_MULTI_PLATFORM": "`1`: an index also of one platform.",
        "BUILDKIT_SANDBOX_HOSTNAME": "The host's name in RUN.",
    }),
    *_rows(ARGUMENTS, WITHOUT_EFFECT, {
        "BUILDKIT_CACHE_MOUNT_NS": "Cache mounts are by their ids.",
        "BUILDKIT_SBOM_SCAN_CONTEXT": "An SBOM is of the image alone.",
        "BUILDKIT_SBOM_SCAN_STAGE": "An SBOM is of the image alone.",
        "BUILDKIT_SYNTAX": "There is one frontend, which is part of tiffin.",
    }),
    *_rows(JOBS, DONE, {
        "ACTIONS_RESULTS_URL": "Where GitHub's cache service is, for `type=gha`.",
        "ACTIONS_RUNTIME_TOKEN": "The token for it.",
        "GITHUB_ACTIONS": "`true`: groups and annotations in the log.",
        "GITHUB_STEP_SUMMARY": "The file to which a summary of a build is added.",
        "GITHUB_WORKSPACE": "Files of annotations are named from here.",
        "GITLAB_CI": "`true`: collapsed sections in the log.",
        "KANIKO_DIR": "Where `kaniko-executor` looks for `.docker/config.json`.",
    }),
    *_rows(OTHERS, DONE, {
        "COSIGN_PASSWORD": "The password of a key that signs images.",
        "COSIGN_REPOSITORY": "The repository that has signatures and signed attestations, instead of the image's own.",
        "SIGSTORE_ID_TOKEN": "The token of who signs images without a key.",
        "HTTP_PROXY": "As HTTPS_PROXY, ALL_PROXY, NO_PROXY, also in small letters: how registries are reached.",
        "NO_COLOR": "Set to anything: no colours.",
        "BUILDAH_FORMAT": "What `--format` of a build is where it is not given, buildah's.",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "Where `build` and `bake` send their spans (OTLP over HTTP, in JSON), with the"
        " variables beside it: `…_HEADERS`, `…_TIMEOUT`, `OTEL_SERVICE_NAME`, `TRACEPARENT` and others.",
        "REGISTRY_AUTH_FILE": "A file of credentials, podman's.",
        "SOURCE_DATE_EPOCH": "The time of everything made, and a build argument.",
        "SSL_CERT_FILE": "Certificates to trust, as SSL_CERT_DIR.",
        "TERM": "`dumb`: no live view.",
    }),
)  # fmt: skip


def check_variables(environ: Mapping[str, str]) -> None:
    """Raise UsageError for one that asks for what is not there, where leaving it out would do harm."""
    for row in VARIABLES:
        if row.effect == REFUSED and environ.get(row.name, "").lower() not in SWITCHED_OFF:
            raise UsageError(f"{row.name} is set: {row.about.rstrip('.')}", remedy=row.remedy)
