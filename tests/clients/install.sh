#!/usr/bin/env bash
# Installs the clients that users have, pinned, outside the checkout, and
# prints the folder of their virtual environment.
#   install.sh            the OpenAI Python client
#   install.sh guidellm   guidellm too (it brings PyTorch: six gigabytes)
set -euo pipefail

openai=openai==3.54.0
guidellm=guidellm==0.8.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/clients"
what=${1:-openai}
case "$what" in
  openai) packages=("$openai") ;;
  guidellm) packages=("$openai" "$guidellm") ;;
  *) echo "usage: install.sh [openai|guidellm]" >&2; exit 2 ;;
esac
venv="$cache/$what"
if [ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  rm -rf "$venv"
  mkdir -p "$cache"
  python3 -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2
  echo "${packages[*]}" >"$venv/installed"
fi
echo "$venv"
