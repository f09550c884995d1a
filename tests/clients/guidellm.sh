#!/usr/bin/env bash
# guidellm.sh VENV GATEWAY FOLDER: a short benchmark by guidellm, whose report must have no error.
set -euo pipefail
venv=$1 target=${2%/v1} folder=$3
# guidellm ends with its prompts: as many as requests, of different lengths.
seq 24 | awk '{ printf "{\"prompt\": \"Request %d:", $1; for (i = 0; i < 20 + $1 * 7 % 40; i++) printf " word"; print "\", \"output_tokens_count\": 16}" }' >"$folder/prompts.jsonl"
HF_HUB_OFFLINE=1 "$venv/bin/python" -m guidellm run \
  --backend "kind=openai_http,target=$target,model=llama-8b" \
  --profile kind=concurrent,streams=4 --constraint kind=max_requests,count=24 \
  --data "kind=json_file,path=$folder/prompts.jsonl" --output "kind=json,path=$folder/guidellm.json" --disable-progress
python3 - "$folder/guidellm.json" <<'PY'
import json, sys
made = json.load(open(sys.argv[1]))["benchmarks"][0]["scheduler_metrics"]["requests_made"]
print(made)
assert made["errored"] == 0 and made["successful"] == 24, made
PY
