# tiffin's own image, built by tiffin: tiffin build -t tiffin --build-arg BASE=debian:bookworm .
# BASE is any Debian (bookworm or later) or python image (3.11 or later).
ARG BASE=debian:bookworm

FROM ${BASE} AS install
RUN command -v python3 >/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates; }
WORKDIR /src
COPY pyproject.toml README.md ./
COPY LICENSE ./
COPY tiffin/ tiffin/
COPY builder/ builder/
COPY cache/ cache/
RUN python3 -m venv --copies /opt/tiffin \
    && /opt/tiffin/bin/pip install --no-cache-dir --disable-pip-version-check . \
    && /opt/tiffin/bin/pip uninstall -y -q pip setuptools

FROM ${BASE} AS base
RUN { command -v python3 >/dev/null || packages=python3; command -v newuidmap >/dev/null || packages="$packages uidmap"; } \
    && if [ -n "$packages" ]; then \
        apt-get update && apt-get install -y --no-install-recommends $packages ca-certificates \
        && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=install /opt/tiffin /opt/tiffin
ENV PATH=/opt/tiffin/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# layers cannot be unpacked on a container's own overlay: mount a volume or a tmpfs here
ENV TIFFIN_ROOT=/var/lib/tiffin
VOLUME /var/lib/tiffin
ENTRYPOINT ["tiffin"]
CMD ["--help"]

# takes the flags of Kaniko's executor: tiffin build --target kaniko -t tiffin-kaniko .
FROM base AS kaniko
RUN mkdir -p /kaniko/.docker /workspace && chmod 1777 /kaniko/.docker \
    && printf '#!/bin/sh\nexec tiffin kaniko-executor "$@"\n' > /kaniko/executor && chmod 755 /kaniko/executor
WORKDIR /workspace
ENTRYPOINT ["/kaniko/executor"]
CMD []

FROM base
