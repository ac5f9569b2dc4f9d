#!/usr/bin/env bash
# Licences, bans and sources of the dependencies. The advisory database is fetched from the
# network, so `cargo deny check advisories` is for a machine that reaches it.
set -euo pipefail
if ! cargo deny --version >/dev/null 2>&1; then
  if [ -n "${CI:-}" ]; then
    cargo install --quiet --locked cargo-deny
  else
    echo "cargo-deny is missing, so licences were not checked: cargo install --locked cargo-deny"
    exit 1
  fi
fi
cargo deny --all-features check bans licenses sources
