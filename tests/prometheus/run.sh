#!/usr/bin/env bash
# A real Prometheus between model servers and our Prometheus source: what it
# recorded is read with its true age, and a step of the load is seen within a
# scrape interval and a second. Prints a line per claim and `N passed, M failed`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
prometheus=$("$here/install.sh")
cd "$root"
exec cargo run --quiet --release --locked -p collect --example prometheus -- "$prometheus"
