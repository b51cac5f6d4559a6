#!/usr/bin/env bash
set -Eeo pipefail
if [ "$(id -u)" = 0 ]; then
	chown postgres "$PGDATA"
	exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
fi
[ -s "$PGDATA/PG_VERSION" ] || initdb -A trust -N > /dev/null
exec "$@"
