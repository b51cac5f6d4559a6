#!/bin/sh
set -e
case "$1" in
  serve) echo "serving on $APP_PORT in $PWD" ;;
  *) exec "$@" ;;
esac
