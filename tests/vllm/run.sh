#!/usr/bin/env bash
# Shows that a real vLLM can stand in for a simulated server: starts a fleet
# whose replica is vLLM on CPU, asks it through the gateway, and reads its
# signals back from the autoscaler. Opt-in: see install.sh.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ -z "${TIDEGATE_BIN:-}" ]; then
  (cd "$root" && cargo build --release --locked -p tidegate) || exit 1
  TIDEGATE_BIN="${CARGO_TARGET_DIR:-$root/target}/release/tidegate"
fi
vllm=$("$here/install.sh") || exit 1
work=$(mktemp -d)
sed "s|VLLM\"|$vllm/venv/bin/vllm\"|; s|MODEL\"|$vllm/tiny\"|" "$here/fleet.yaml" >"$work/fleet.yaml"
"$TIDEGATE_BIN" up --fleet "$work/fleet.yaml" --data-dir "$work/data" --listen 127.0.0.1:0 --dashboard 127.0.0.1:0 \
  --api 127.0.0.1:0 --gateway-admin 127.0.0.1:0 --autoscaler-admin 127.0.0.1:0 --keda-listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
up=$!
trap 'kill -INT $up 2>/dev/null; wait $up; rm -rf "$work"' EXIT
until [ -s "$work/data/endpoints.json" ]; do kill -0 "$up" || { cat "$work/up.log"; exit 1; }; sleep 0.1; done
gateway=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["gateway"])' "$work/data/endpoints.json")
passed=0 failed=0
check() { local name=$1; shift; if "$@"; then passed=$((passed + 1)); echo "ok     $name"; else failed=$((failed + 1)); echo "FAILED $name"; fi; }
# The request waits in the gateway's queue while vLLM starts.
check "a request waits for vLLM and is answered by it" bash -c \
  "curl -sS --max-time 115 $gateway/chat/completions -d '{\"model\":\"tiny\",\"max_tokens\":8,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}' | tee $work/answer | grep -q chat.completion"
check "it streams" bash -c \
  "curl -sSN --max-time 60 $gateway/completions -d '{\"model\":\"tiny\",\"max_tokens\":8,\"stream\":true,\"prompt\":\"hi\"}' | grep -q DONE"
sleep_until=$((SECONDS + 30))
signals() { "$TIDEGATE_BIN" why variant tiny-vllm --data-dir "$work/data" | grep -qi "kv"; }
until signals || [ "$SECONDS" -gt "$sleep_until" ]; do sleep 0.5; done
check "the autoscaler reads vLLM's own signals" signals
[ "$failed" -eq 0 ] || { cat "$work/answer" "$work/up.log"; tail -40 "$work/data/log"; }
echo "vllm: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
