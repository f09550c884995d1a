#!/usr/bin/env bash
# The browser test against a real fleet: starts `tidegate up`, opens the page
# in Chromium under load, and asserts what it shows. TIDEGATE_BIN names the
# binary; it is built if it does not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ -z "${TIDEGATE_BIN:-}" ]; then
  (cd "$root" && cargo build --release --locked -p tidegate)
  TIDEGATE_BIN="${CARGO_TARGET_DIR:-$root/target}/release/tidegate"
fi
work=$(mktemp -d)
"$TIDEGATE_BIN" up --data-dir "$work/data" --listen 127.0.0.1:0 --dashboard 127.0.0.1:0 --api 127.0.0.1:0 \
  --gateway-admin 127.0.0.1:0 --autoscaler-admin 127.0.0.1:0 --keda-listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
up=$!
cleanup() {
  kill -INT "$up" 2>/dev/null || true
  wait "$up" || true
  rm -rf "$work"
}
trap cleanup EXIT
deadline=$((SECONDS + 60))
until grep -q 'ready in' "$work/up.log"; do
  if ! kill -0 "$up" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
    cat "$work/up.log"; echo "page: 0 passed, 1 failed"; exit 1
  fi
  sleep 0.1
done
endpoint() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/data/endpoints.json" "$1"; }
WITHIN=${WITHIN:-90} "$here/run.sh" "$(endpoint dashboard)" "$(endpoint gateway)" "$TIDEGATE_BIN"
