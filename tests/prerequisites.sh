#!/usr/bin/env bash
# Makes sure that the tests find what they run: installs it from Debian when it may, says what is
# missing otherwise. Nothing is skipped in silence: without these tools this script fails.
set -euo pipefail

declare -A packages=([iptables-restore]=iptables [nft]=nftables [ip]=iproute2 [python3]=python3)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for tool in "${!packages[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${packages[$tool]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]}"
  { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >/dev/null && exit 0
fi
echo "The tests need ${missing[*]}: install them, on Debian with: sudo apt-get install ${missing[*]}"
exit 1
