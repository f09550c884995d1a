#!/usr/bin/env bash
# The suites against a real Kubernetes control plane, which install.sh builds.
#   run.sh differential [--filter TEXT]   the embedded API against kube-apiserver, answer by answer
#   run.sh loop                           the whole loop, embedded and on the real control plane
# TIDEGATE_BIN names the binary for the loop; it is built if it does not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
suite=${1:?usage: run.sh differential|loop [flags]}
shift
TIDEGATE_KUBE_BIN=$("$here/install.sh")
export TIDEGATE_KUBE_BIN
cd "$root"
if [ "$suite" = loop ] && [ -z "${TIDEGATE_BIN:-}" ]; then
  cargo build --release --locked -p tidegate
  export TIDEGATE_BIN="${CARGO_TARGET_DIR:-$root/target}/release/tidegate"
fi
exec cargo run --quiet --release --locked -p kube-suites --bin "$suite" -- "$@"
