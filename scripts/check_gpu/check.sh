#!/bin/sh
# A bundle's entry point: the check by the Node that lies beside it.
here=$(cd "${0%/*}" && pwd)
exec "$here/node" "$here/scripts/check_gpu.mjs" "$@"
