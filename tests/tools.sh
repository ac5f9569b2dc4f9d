#!/usr/bin/env bash
# Leaves tools of the CNI project, which Debian does not have, where the tests look for them:
#   tests/tools.sh cnitool
# Prints nothing when they are there already; says in one sentence what is missing otherwise.
set -euo pipefail

directory=${ISTIO_CNI_TEST_TOOLS:-$HOME/.cache/istio-cni-otel/tools}
# Go modules, each at the version that the tests were written for.
declare -A modules=([cnitool]=github.com/containernetworking/cni/cnitool@v1.3.0)
PATH=$PATH:/usr/local/go/bin

[ $# -gt 0 ] || { echo "usage: tests/tools.sh NAME..., with the names ${!modules[*]}" >&2; exit 2; }
for tool in "$@"; do
  module=${modules[$tool]:-}
  [ -n "$module" ] || { echo "$tool is no tool that this script knows; it knows ${!modules[*]}." >&2; exit 2; }
  built=$directory/.$tool-${module##*@}
  [ -x "$directory/$tool" ] && [ -e "$built" ] && continue
  if ! command -v go >/dev/null; then
    echo "$tool is missing in $directory, and so is Go 1.21 or later to build it: install Go, or put the $tool of $module there and create $built." >&2
    exit 1
  fi
  mkdir -p "$directory"
  scratch=$(mktemp -d "$directory/.building-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  echo "building $tool from $module"
  if ! (cd "$scratch" && GOBIN=$scratch CGO_ENABLED=0 go install "$module") >"$scratch/log" 2>&1; then
    echo "$tool could not be built from $module: $(tail -n 1 "$scratch/log"); check that the Go module proxy (GOPROXY) can be reached, or put the tool into $directory and create $built." >&2
    exit 1
  fi
  # Whole or not at all, whoever else builds it now.
  mv "$scratch/$tool" "$directory/$tool"
  touch "$built"
  rm -rf "$scratch"
done
