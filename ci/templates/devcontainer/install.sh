#!/bin/sh
# Run by the devcontainers CLI as root while an image is built; options are in capitals.
set -eu
prefix=${TIFFIN_PREFIX:-/usr/local}
if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    apt-get update
    apt-get install -y --no-install-recommends python3 python3-venv uidmap ca-certificates
    rm -rf /var/lib/apt/lists/*
fi
python3 -m venv "$prefix/lib/tiffin"
"$prefix/lib/tiffin/bin/pip" install --quiet --no-cache-dir "${PACKAGE:-tiffin}"
mkdir -p "$prefix/bin" "${TIFFIN_ROOT:-/var/lib/tiffin}"
ln -sf "$prefix/lib/tiffin/bin/tiffin" "$prefix/bin/tiffin"
if [ "${DOCKER:-true}" = true ]; then
    ln -sf "$prefix/bin/tiffin" "$prefix/bin/docker"
fi
chmod 1777 "${TIFFIN_ROOT:-/var/lib/tiffin}"
