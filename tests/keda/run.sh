#!/usr/bin/env bash
# KEDA's own client against Tidegate's external scaler: the client is built by
# install.sh, the scaler serves decisions that the suite sets. Prints a line
# per claim and `N passed, M failed`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
probe=$("$here/install.sh")
cd "$root"
exec cargo run --quiet --release --locked -p publish --example keda -- "$probe" "$@"
