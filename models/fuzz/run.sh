#!/bin/sh
# Fuzzes each reader of model files, chat templates and tokenizers, for SECONDS (default 30). Needs nightly
# and cargo-fuzz. Fails on a crash, on an input that takes over 10 s, and on one allocation of more than
# 64 MiB, which no input of 64 KiB justifies.
set -eu
cd "$(dirname "$0")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo run --quiet --release --bin seeds
for target in gguf safetensors packed template tokenizer; do
    echo "$target:"
    cargo +nightly fuzz run --fuzz-dir . "$target" -- -max_total_time="${1:-30}" -max_len=65536 \
        -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=64 -print_final_stats=1 >"$log" 2>&1 ||
        { tail -n 60 "$log"; exit 1; }
    grep -E '^stat::|^Done|cov:' "$log" | tail -n 8
done
