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
  # Named namespaces of its own, so that nobody else's on this machine are in the way.
  unshare --mount --propagation private sh -c 'mount -t tmpfs netns /run/netns && exec "$@"' sh \
    python3 "$runner" "$binaries/istio-cni" "$@" >"$log" 2>&1 || failed=1
  # The agent's log is between; what it says matters only where a case failed.
  grep -E '^(FAIL|  |ADD wall|[0-9]+ passed)' "$log" || { tail -n 40 "$log"; failed=1; }
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
PATH=$PATH:/usr/sbin:/sbin
if [ "$(id -u)" -ne 0 ]; then
  # The clients are many users, and a user namespace has as many as its map. More than one are given
  # to whoever has subordinate ids (man 5 subuid).
  enter=(unshare --map-root-user --map-auto --mount --net)
  if why=$("${enter[@]}" true 2>&1); then
    rm -f "$log"
    exec "${enter[@]}" sh -c 'mount -t tmpfs run /run && ip link set lo up && exec "$@"' sh "$0" "$@"
  fi
  echo "conformance: needs root, or subordinate user ids ($why), for its clients are many users; so the recorded packet verdicts were NOT compared; the project's own packet tests ran. Run: sudo make conformance, or: sudo apt-get install uidmap && sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \$USER"
  exit 0
fi
mkdir -p /run/netns
way "on its own, auto"
way "on its own, iptables" --conf "$iptables"
way "through the agent, auto" --agent "$binaries/istio-cni-otel agent"
way "through the agent, iptables" --agent "$binaries/istio-cni-otel agent" --conf "$iptables"
exit $failed
