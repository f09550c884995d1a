#!/usr/bin/env bash
# Fetches Prometheus from Debian's archive (no root, nothing is installed into
# the system) and prints the path of its binary, which is kept under
# ${XDG_CACHE_HOME:-~/.cache}/tidegate/prometheus/<version>.
# TIDEGATE_PROMETHEUS_BIN=FILE uses a binary of your own instead.
set -euo pipefail

# Debian 12's; a point release may change what follows it.
version=2.42

if [ -n "${TIDEGATE_PROMETHEUS_BIN:-}" ]; then
  [ -x "$TIDEGATE_PROMETHEUS_BIN" ] || { echo "TIDEGATE_PROMETHEUS_BIN=$TIDEGATE_PROMETHEUS_BIN cannot be executed" >&2; exit 1; }
  echo "$TIDEGATE_PROMETHEUS_BIN"
  exit 0
fi

bin="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/prometheus/$version"
if [ ! -x "$bin/prometheus" ]; then
  mkdir -p "$bin"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  fetch() { (cd "$work" && apt-get download prometheus) >&2; }
  # apt verifies the archive's signature and the package's checksum; on a fresh machine it has no lists yet.
  fetch || { apt-get update >&2 && fetch; }
  deb=$(find "$work" -name 'prometheus_*.deb' | head -1)
  case "$(dpkg-deb --field "$deb" Version)" in
    "$version".*) ;;
    *) echo "the archive has Prometheus $(dpkg-deb --field "$deb" Version), and $version is what the suite is written for" >&2; exit 1 ;;
  esac
  dpkg-deb --extract "$deb" "$work/unpacked"
  install -m 755 "$work/unpacked/usr/bin/prometheus" "$bin/prometheus.new"
  mv "$bin/prometheus.new" "$bin/prometheus"
fi
echo "$bin/prometheus"
