#!/usr/bin/env bash
# A real Prometheus, first between model servers and our Prometheus source: what
# it recorded is read with its true age, and a step of the load is seen within a
# scrape interval and a second. Then in the middle of the whole loop: `tidegate
# up` runs the fleet and `tidegate autoscaler` knows what Prometheus knows.
# Prints a line per claim and `N passed, M failed`.
# TIDEGATE_BIN names the binary; it is built if it does not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
prometheus=$("$here/install.sh")
cd "$root"
cargo run --quiet --release --locked -p collect --example prometheus -- "$prometheus"

# The suite looks at the fleet by kubectl.
TIDEGATE_KUBE_BIN=$("$root/tests/kube/install.sh")
export TIDEGATE_KUBE_BIN TIDEGATE_PROMETHEUS_BIN="$prometheus"
cargo build --quiet --release --locked -p tidegate -p kube-suites
target="${CARGO_TARGET_DIR:-$root/target}/release"
export TIDEGATE_BIN="${TIDEGATE_BIN:-$target/tidegate}"
exec "$target/through-prometheus"
