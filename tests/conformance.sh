#!/usr/bin/env bash
# The recorded packet verdicts, in the four ways in which an ADD can go. Usage:
#   conformance.sh RUNNER DIRECTORY-OF-BINARIES
set -euo pipefail
runner=$(realpath "$1") binaries=$(realpath "$2")
iptables='{"redirect_backend": "iptables"}'
failed=0

way() {
  echo "conformance: $1"
  shift
  # Named namespaces of its own, so that nobody else's on this machine are in the way.
  unshare --mount --propagation private bash -c 'mount -t tmpfs netns /run/netns && exec "$@"' bash \
    "$@" >"$log" 2>&1 || failed=1
  # The agent's log is between; what it says matters only where a case failed.
  grep -E '^(FAIL|  |ADD wall|[0-9]+ passed)' "$log" || { tail -n 40 "$log"; failed=1; }
}

# A root in which the agent finds what its container has: the image's plugin in /opt/cni/bin, the node
# under /host. The plugin that is called is the one that the agent has put there.
in_container() {
  mount -t tmpfs container "$root"
  local entry
  for entry in /*; do
    case $entry in
      /opt | /host) ;;
      *) if [ -L "$entry" ]; then cp -a "$entry" "$root"; elif [ -d "$entry" ]; then mkdir "$root$entry" && mount --rbind "$entry" "$root$entry"; fi ;;
    esac
  done
  mkdir -p "$root"/opt/cni/bin "$root"/host/opt/cni/bin "$root"/host/etc/cni/net.d
  cp "$binaries/istio-cni" "$root/opt/cni/bin/"
  cp "$binaries/istio-cni-otel" "$root/opt/install-cni"
  cat >"$root/opt/plugin" <<'PLUGIN'
#!/bin/sh
until [ -x /host/opt/cni/bin/istio-cni ]; do sleep 0.05; done
exec /host/opt/cni/bin/istio-cni "$@"
PLUGIN
  # The runner names directories of its own; the container's are where the image has them.
  cat >"$root/opt/agent" <<'AGENT'
#!/bin/sh
unset MOUNTED_CNI_NET_DIR CNI_BIN_TARGET_DIRS
exec /opt/install-cni --log_output_level=info
AGENT
  echo '{"cniVersion": "1.0.0", "name": "primary", "plugins": [{"type": "bridge"}]}' >"$root/host/etc/cni/net.d/10-primary.conflist"
  chmod +x "$root/opt/plugin" "$root/opt/agent"
  chroot "$root" python3 "$runner" /opt/plugin --agent /opt/agent "$@"
  grep -q '"istio-cni"' "$root/host/etc/cni/net.d/10-primary.conflist"
}

log=$(mktemp)
root=$(mktemp -d)
trap 'rm -f "$log"; rmdir "$root"' EXIT
export -f in_container
export root binaries runner
PATH=$PATH:/usr/sbin:/sbin
if [ "$(id -u)" -ne 0 ]; then
  # The clients are many users, and a user namespace has as many as its map. More than one are given
  # to whoever has subordinate ids (man 5 subuid).
  enter=(unshare --map-root-user --map-auto --mount --net)
  if why=$("${enter[@]}" true 2>&1); then
    rm -f "$log"
    rmdir "$root"
    exec "${enter[@]}" bash -c 'mount -t tmpfs run /run && ip link set lo up && exec "$@"' bash "$0" "$@"
  fi
  echo "conformance: needs root, or subordinate user ids ($why), for its clients are many users; so the recorded packet verdicts were NOT compared; the project's own packet tests ran. Run: sudo make conformance, or: sudo apt-get install uidmap && sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \$USER"
  exit 0
fi
mkdir -p /run/netns
alone=(python3 "$runner" "$binaries/istio-cni")
installed=(bash -euc 'in_container "$@"' bash)
way "on its own, auto" "${alone[@]}"
way "on its own, iptables" "${alone[@]}" --conf "$iptables"
way "installed by the agent and through it, auto" "${installed[@]}"
way "installed by the agent and through it, iptables" "${installed[@]}" --conf "$iptables"
exit $failed
