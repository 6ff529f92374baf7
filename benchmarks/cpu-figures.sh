#!/usr/bin/env bash
# Prints what docs/performance.md says of provider cpu, on this machine: ceilings and operations on
# all cores, the large ones on one core, and the small ones beside the reference. Takes about three
# minutes on two cores. Build first (mvn -DskipTests package) and let nothing else run.
set -euo pipefail
cd "$(dirname "$0")/.."
weft() { ./weft bench --seconds 1 "$@"; }
large=(conv1d/forward/1x8192 moba/forward/8192,8,128,512,3 moe/forward/Qwen3-30B-A3B,T=512)

echo "== all cores, float32"
weft --backend cpu "${large[@]}" conv1d/backward/1x8192 moba/forward/4096,4,128,256,4 \
  moba/backward/8192,8,128,512,3 moe/forward/Qwen3-30B-A3B,T=1 moe/forward/Qwen3-30B-A3B,T=32
echo "== all cores, bfloat16"
weft --backend cpu --dtype bf16 moe/forward/Qwen3-30B-A3B,T=1 moe/forward/Qwen3-30B-A3B,T=32
echo "== one core, float32"
taskset -c 0 ./weft bench --seconds 1 --backend cpu "${large[@]}"
echo "== small, cpu"
weft --backend cpu
echo "== small, reference"
weft --backend reference
