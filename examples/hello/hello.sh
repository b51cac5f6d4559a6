#!/bin/sh
cat "$@"
echo "uid $(id -u), $(hostname), $(date -u +%F)"
