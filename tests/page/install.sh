#!/usr/bin/env bash
# Gets what the page's browser test needs: Chromium (Debian's, through apt, if
# none is there) and playwright-core, pinned by package-lock.json and kept
# outside the checkout under ${XDG_CACHE_HOME:-~/.cache}/tidegate/page.
# Prints that folder. TIDEGATE_CHROMIUM=FILE uses a browser of your own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/page"
mkdir -p "$cache"

if [ -z "${TIDEGATE_CHROMIUM:-}" ] && [ ! -x /usr/bin/chromium ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >&2
fi

if ! cmp -s "$here/package-lock.json" "$cache/package-lock.json" || [ ! -d "$cache/node_modules/playwright-core" ]; then
  command -v npm >/dev/null || { echo "node 20 with npm is needed for the page's test" >&2; exit 1; }
  cp "$here/package.json" "$here/package-lock.json" "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 || { rm -f "$cache/package-lock.json"; exit 1; }
fi
echo "$cache"
