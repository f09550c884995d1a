#!/usr/bin/env bash
# The suites against a real Kubernetes control plane, which install.sh builds.
#   run.sh differential [--filter TEXT]   the embedded API against kube-apiserver, answer by answer
#   run.sh loop                           the whole loop, embedded and on the real control plane
#   run.sh control                        two autoscalers on the real one, with the rights of deploy/ and no more
#   run.sh hpa                            the real HPA controller, scaling by our external metrics
# TIDEGATE_BIN names the binary for loop and control; it is built if it does not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
suite=${1:?usage: run.sh differential|loop|control|hpa [flags]}
shift
TIDEGATE_KUBE_BIN=$("$here/install.sh")
export TIDEGATE_KUBE_BIN
cd "$root"
# Both packages in one call, as CI builds them: the same features, so nothing is built twice.
cargo build --quiet --release --locked -p tidegate -p kube-suites
target="${CARGO_TARGET_DIR:-$root/target}/release"
export TIDEGATE_BIN="${TIDEGATE_BIN:-$target/tidegate}"
exec "$target/$suite" "$@"
