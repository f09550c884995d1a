#!/usr/bin/env bash
# The clients that users have, against a fleet started with `tidegate up`:
# curl, kubectl, the OpenAI Python client, and (on demand) guidellm.
#   run.sh             curl, kubectl, openai
#   run.sh guidellm    guidellm as well
# TIDEGATE_BIN names the binary; it is built if it does not.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

if [ -z "${TIDEGATE_BIN:-}" ]; then
  (cd "$root" && cargo build --release --locked -p tidegate) || exit 1
  TIDEGATE_BIN="${CARGO_TARGET_DIR:-$root/target}/release/tidegate"
fi
kubectl="$("$root/tests/kube/install.sh")/kubectl" || exit 1
python="$("$here/install.sh")/bin/python" || exit 1

work=$(mktemp -d)
"$TIDEGATE_BIN" up --data-dir "$work/data" --listen 127.0.0.1:0 --dashboard 127.0.0.1:0 --api 127.0.0.1:0 \
  --gateway-admin 127.0.0.1:0 --autoscaler-admin 127.0.0.1:0 --keda-listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
up=$!
cleanup() {
  kill -INT "$up" 2>/dev/null
  wait "$up" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT

deadline=$((SECONDS + 60))
until [ -s "$work/data/endpoints.json" ]; do
  if ! kill -0 "$up" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
    echo "tidegate up did not start:"; cat "$work/up.log"; echo "clients: 0 passed, 1 failed"; exit 1
  fi
  sleep 0.05
done
endpoint() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/data/endpoints.json" "$1"; }
gateway=$(endpoint gateway)
KUBECONFIG=$(endpoint kubeconfig)
export KUBECONFIG KUBECACHEDIR="$work/kubecache" PATH="$(dirname "$kubectl"):$PATH"

passed=0
failed=0
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1)); echo "ok     $name"
  else
    failed=$((failed + 1)); echo "FAILED $name"; sed 's/^/       /' <<<"$output" | tail -30
  fi
}
# says PATTERN COMMAND...: the command succeeds and its output matches.
says() {
  local pattern=$1 output
  shift
  output=$("$@" 2>&1) && grep -qE -- "$pattern" <<<"$output" || { echo "wanted /$pattern/ from: $*"; echo "$output"; return 1; }
}
chat='{"model":"llama-8b","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}'

check "curl gets an answer without naming a content type" says '"chat.completion"' curl -sS --max-time 60 "$gateway/chat/completions" -d "$chat"
check "curl sees who answered" says 'x-tidegate-endpoint: 127\.' curl -sS -i --max-time 60 "$gateway/chat/completions" -d "$chat"
check "curl streams" says '^data: \[DONE\]' curl -sSN --max-time 60 "$gateway/chat/completions" -d "${chat/\{/\{\"stream\":true,}"
check "curl is told which models exist" says 'llama-8b' curl -sS "$gateway/chat/completions" -d '{"model":"nope","messages":[]}'
check "kubectl get shows the fleet" says 'llama-8b-l4' kubectl get variantautoscalings,pods,deployments,inferencepools
check "kubectl get -o wide has the reason" says 'REASON' kubectl get va -o wide
check "kubectl describe shows conditions" says 'OptimizationReady' kubectl describe va llama-8b-l4
check "kubectl get nodes shows GPUs" says '"nvidia.com/gpu": "8"' kubectl get node node-l4 -o json
check "kubectl logs reads a model server" says '.' kubectl logs deployment/llama-8b-l4
check "kubectl apply creates" says 'created' kubectl apply -f "$here/configmap.yaml"
check "kubectl apply sees no change" says 'unchanged' kubectl apply -f "$here/configmap.yaml"
check "kubectl explain knows the schema" says 'variantCost' kubectl explain variantautoscaling.spec
check "kubectl scale, rollout status" says 'successfully rolled out|scaled' bash -c 'kubectl rollout status deployment/llama-8b-l4 --timeout=60s'
check "the OpenAI client: models, chat, stream, errors" "$python" "$here/openai_client.py" "$gateway"

if [ "${1:-}" = guidellm ]; then
  venv=$("$here/install.sh" guidellm) || exit 1
  check "guidellm measures the fleet" "$here/guidellm.sh" "$venv" "$gateway" "$work"
fi

echo "clients: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
