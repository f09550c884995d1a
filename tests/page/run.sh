#!/usr/bin/env bash
# Opens the dashboard in Chromium while a load step saturates the fleet, and
# asserts what it shows: tests/page/page.mjs tells what.
#
#   tests/page/run.sh URL_OF_DASHBOARD GATEWAY_URL TIDEGATE_BIN
#
# The fleet must be at rest with one replica (or none) when it begins.
# LOAD=COMMAND    replaces the load:
#                 "$TIDEGATE_BIN load --url $GATEWAY_URL --rate ${RATE:-30} --for ${FOR:-40s}"
# SCREENSHOTS=DIR keeps the screenshots there.
# WITHIN=SECONDS  is how long the fleet may take to grow (60).
#
# Without arguments it runs against the made-up fleet of the example `page`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$("$here/install.sh")
work=$(mktemp -d)
fleet=
cleanup() {
  if [ -n "$fleet" ]; then kill "$fleet" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

if [ $# -eq 0 ]; then
  built=$(cd "$here/../.." && cargo build --quiet -p tidegate --example page --message-format=json |
    sed -n 's|.*"executable":"\([^"]*/examples/page\)".*|\1|p' | tail -1)
  "$built" --port 0 --cue "$work/cue" >"$work/address" &
  fleet=$!
  for _ in $(seq 100); do [ -s "$work/address" ] && break; sleep 0.1; done
  set -- "$(cat "$work/address")" none none
  LOAD="touch $work/cue"
fi
[ $# -eq 3 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

export LOAD="${LOAD:-$3 load --url $2 --rate ${RATE:-30} --for ${FOR:-40s}}"
export CHROMIUM="${TIDEGATE_CHROMIUM:-/usr/bin/chromium}"
# Modules are looked up beside the script, so it runs from where they are.
cp "$here/page.mjs" "$cache/page.mjs"
node "$cache/page.mjs" "$1"
