"""What may stand on the line of Kaniko's executor, by its own names (osscontainertools/kaniko 1.28)."""

from __future__ import annotations

from tiffin.builder.cli.options.option import REFUSED, WITHOUT_EFFECT, Arguments, Flag, Many, Text, Words

NOTHING_UNPACKED = "tiffin unpacks nothing into its own root"
RETRIES = "downloads and uploads that fail are tried again by themselves"


class KanikoRegistryArguments(Arguments):
    """How it reaches registries."""

    insecure = Flag("--insecure", help="Allow plain http for the destinations.")
    skip_tls_verify = Flag("--skip-tls-verify", help="Allow any certificate for the destinations.")
    insecure_pull = Flag("--insecure-pull", help="Allow plain http for all pulls.")
    skip_tls_verify_pull = Flag("--skip-tls-verify-pull", help="Allow any certificate for all pulls.")
    insecure_registry = Many("--insecure-registry", metavar="HOST", help="Allow plain http for HOST; repeatable.")
    skip_tls_verify_registry = Many(
        "--skip-tls-verify-registry", metavar="HOST", help="Allow any certificate for HOST; repeatable."
    )
    registry_certificate = Many(
        "--registry-certificate", metavar="HOST=FILE", help="Certificates to trust for HOST; repeatable."
    )
    registry_client_cert = Many(
        "--registry-client-cert", metavar="HOST=CERT,KEY", help="Client certificate for HOST; repeatable."
    )
    registry_mirror = Many("--registry-mirror", metavar="HOST", help="Mirror of docker.io; repeatable.")
    registry_map = Many("--registry-map", metavar="HOST=MIRROR;…", help="Mirrors of other registries; repeatable.")
    skip_default_registry_fallback = Flag(
        "--skip-default-registry-fallback", help="Ask mirrors only, where a registry has some."
    )
    push_ignore_immutable_tag_errors = Flag(
        "--push-ignore-immutable-tag-errors", help="Go on where a tag exists and may not change."
    )
    push_retry = Many("--push-retry", why=RETRIES, effect=WITHOUT_EFFECT)
    image_download_retry = Many("--image-download-retry", why=RETRIES, effect=WITHOUT_EFFECT)
    credential_helpers = Many(
        "--credential-helpers", why="the helpers of docker's config.json are asked", effect=WITHOUT_EFFECT
    )
    skip_push_permission_check = Flag(
        "--skip-push-permission-check", why="the push itself finds out", effect=WITHOUT_EFFECT
    )


class KanikoIgnoredArguments(Arguments):
    """Of Kaniko's own ways, which tiffin does not share."""

    snapshot_mode = Many(
        "--snapshot-mode", "--snapshotMode", why="layers show exactly what a step changed", effect=WITHOUT_EFFECT
    )
    ignore_path = Many(
        "--ignore-path", why="a step does not see the pod's files, so none gets into a layer", effect=WITHOUT_EFFECT
    )
    ignore_var_run = Flag("--ignore-var-run", "--whitelist-var-run", default=True, effect=WITHOUT_EFFECT)
    cache_ttl = Many("--cache-ttl", why="a cached step holds for as long as its inputs", effect=WITHOUT_EFFECT)
    cache_dir = Many("--cache-dir", why="base images are kept in tiffin's own directory", effect=WITHOUT_EFFECT)
    cache_copy_layers = Flag("--cache-copy-layers", effect=WITHOUT_EFFECT)
    cache_run_layers = Flag("--cache-run-layers", default=True, effect=WITHOUT_EFFECT)
    compressed_caching = Flag("--compressed-caching", default=True, effect=WITHOUT_EFFECT)
    image_fs_extract_retry = Many("--image-fs-extract-retry", why=NOTHING_UNPACKED, effect=WITHOUT_EFFECT)
    cleanup = Flag("--cleanup", effect=WITHOUT_EFFECT)
    pre_cleanup = Flag("--pre-cleanup", effect=WITHOUT_EFFECT)
    preserve_context = Flag("--preserve-context", effect=WITHOUT_EFFECT)
    materialize = Flag("--materialize", why=NOTHING_UNPACKED, effect=WITHOUT_EFFECT)
    use_new_run = Flag("--use-new-run", effect=WITHOUT_EFFECT)
    force = Flag("--force", effect=WITHOUT_EFFECT)
    force_build_metadata = Flag("--force-build-metadata", effect=WITHOUT_EFFECT)
    skip_unused_stages = Flag("--skip-unused-stages", effect=WITHOUT_EFFECT)
    log_timestamp = Flag("--log-timestamp", effect=WITHOUT_EFFECT)
    dryrun = Flag("--dryrun", effect=REFUSED, why="there is no dry run; tiffin build --check reads a Dockerfile only")
    bucket = Many("-b", "--bucket", effect=REFUSED, why="write --context s3://BUCKET/FILE, or a signed https:// URL")


class KanikoArguments(KanikoRegistryArguments, KanikoIgnoredArguments):
    """All of them."""

    words = Words("[version | login REGISTRY | push ARCHIVE]")
    context = Text(
        "-c",
        "--context",
        default="/workspace/",
        metavar="DIR|dir://DIR|tar://FILE|git://URL|https://…|s3://…",
        help="Build context.",
    )
    context_sub_path = Text("--context-sub-path", metavar="DIR", help="Directory of the context to build from.")
    dockerfile = Text("-f", "--dockerfile", metavar="FILE|URL", default="Dockerfile", help="Dockerfile.")
    destinations = Many("-d", "--destination", metavar="NAME", help="Name to push the image to; repeatable.")
    no_push = Flag("--no-push", help="Do not push the image.")
    build_args = Many("--build-arg", metavar="K[=V]", help="Value of an ARG; repeatable.")
    target = Many("--target", metavar="STAGE", help="Stage to build; of several the first is the image.")
    labels = Many("--label", metavar="K=V", help="Label of the image; repeatable.")
    annotations = Many("--annotation", metavar="K=V", help="Annotation of the image; repeatable.")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN; repeatable.")
    platform = Text("--custom-platform", "--customPlatform", metavar="OS/ARCH", help="Platform of the image.")
    git = Many("--git", metavar="branch=…,recurse-submodules=…", help="How to clone a git context.")
    cache = Flag("--cache", help="Use and fill a cache in a registry.")
    cache_repo = Text("--cache-repo", metavar="NAME|oci:DIR", help="The cache (default: DESTINATION/cache).")
    no_push_cache = Flag("--no-push-cache", help="Do not fill the cache.")
    single_snapshot = Flag("--single-snapshot", help="Make one layer of all steps.")
    reproducible = Flag("--reproducible", help="Set all times to 0.")
    compression = Text("--compression", choices=("gzip", "zstd"), default="gzip", help="Compression of layers.")
    compression_level = Text("--compression-level", metavar="LEVEL", default="-1", help="Its level.")
    image_format = Text("--image-format", choices=("docker", "oci"), default="oci", help="Media types of the image.")
    tar_path = Text("--tar-path", "--tarPath", metavar="FILE", help="Write the image as a docker archive.")
    oci_layout_path = Text("--oci-layout-path", metavar="DIR", help="Write the image as an OCI layout.")
    digest_file = Text("--digest-file", metavar="FILE", help="Write the digest of the image to FILE.")
    image_name_digest_file = Text(
        "--image-name-with-digest-file", metavar="FILE", help="Write NAME@DIGEST, a line for each destination."
    )
    image_name_tag_digest_file = Text(
        "--image-name-tag-with-digest-file", metavar="FILE", help="Write NAME:TAG@DIGEST likewise."
    )
    kaniko_dir = Text(
        "--kaniko-dir", variable="KANIKO_DIR", default="/kaniko", metavar="DIR", help="Where .docker/config.json is."
    )
    verbosity = Text(
        "-v",
        "--verbosity",
        choices=("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"),
        default="info",
        help="error and above show no progress.",
    )
    log_format = Text("--log-format", choices=("text", "color", "json"), default="color", help="Form of the progress.")
    username = Text("-u", "--username", metavar="NAME", help="Of login.")
    password = Text("-p", "--password", metavar="TEXT", help="Of login.")
    password_stdin = Flag("--password-stdin", help="Of login.")
