#!/usr/bin/env bash
# Builds probe, which is KEDA's own external scaler client, from Go modules.
# Prints the path of the program.
#
# About six minutes on two cores the first time, nothing afterwards: the
# program is kept outside the checkout, under
# ${XDG_CACHE_HOME:-~/.cache}/tidegate/keda/<version>, and built anew when its
# source changes.
# TIDEGATE_KEDA_PROBE=FILE uses a program of your own instead.
set -euo pipefail

keda_version=v2.21.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -n "${TIDEGATE_KEDA_PROBE:-}" ]; then
  [ -x "$TIDEGATE_KEDA_PROBE" ] || { echo "TIDEGATE_KEDA_PROBE=$TIDEGATE_KEDA_PROBE is not executable" >&2; exit 1; }
  echo "$TIDEGATE_KEDA_PROBE"
  exit 0
fi

source=$(cd "$here/probe" && cat go.mod go.sum *.go | sha256sum | cut -c1-12)
bin="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/keda/$keda_version"
probe="$bin/probe-$source"
if [ ! -x "$probe" ]; then
  command -v go >/dev/null || { echo "go 1.26 is needed once to build KEDA's client (or set TIDEGATE_KEDA_PROBE)" >&2; exit 1; }
  mkdir -p "$bin"
  building=$(mktemp -d "$bin/building.XXXXXX")
  trap 'rm -rf "$building"' EXIT
  (cd "$here/probe" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$building/probe" .) >&2
  # Only the program of this source is kept: each is more than a hundred megabytes.
  find "$bin" -maxdepth 1 -type f -name 'probe-*' -delete
  mv "$building/probe" "$probe"
fi
echo "$probe"
