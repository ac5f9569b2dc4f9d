#!/usr/bin/env bash
# The recorded packet verdicts, in the four ways in which an ADD can go. Usage:
#   conformance.sh RUNNER DIRECTORY-OF-BINARIES
set -euo pipefail
runner=$1 binaries=$2
iptables='{"redirect_backend": "iptables"}'
failed=0

way() {
  echo "conformance: $1"
  shift
  python3 "$runner" "$binaries/istio-cni" "$@" 2>/dev/null || failed=1
}

if [ "$(id -u)" -ne 0 ]; then
  echo "conformance needs root (named network namespaces); run: sudo make conformance"
  exit 1
fi
way "on its own, auto"
way "on its own, iptables" --conf "$iptables"
way "through the agent, auto" --agent "$binaries/istio-cni-otel agent"
way "through the agent, iptables" --agent "$binaries/istio-cni-otel agent" --conf "$iptables"
exit $failed
