#!/usr/bin/env bash
# Makes sure that the tests find what they run: installs it from Debian when it may, says what is
# missing otherwise. Nothing is skipped in silence: without these tools this script fails.
set -euo pipefail

declare -A packages=(
  [iptables-restore]=iptables [nft]=nftables [ip]=iproute2 [python3]=python3
  [containerd]=containerd [/usr/lib/cni/bridge]=containernetworking-plugins
  [chromium]=chromium [chromedriver]=chromium-driver
)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for tool in "${!packages[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${packages[$tool]}")
done

if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]}"
  { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >/dev/null && missing=()
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "The tests need ${missing[*]}: install them, on Debian with: sudo apt-get install ${missing[*]}"
  exit 1
fi
exec "$(dirname "$0")/tools.sh" cnitool
