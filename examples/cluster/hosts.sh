#!/bin/sh
# Hosts that share this folder: hosts.sh alpha beta gamma
# A host that fails is named; the same line again makes what is missing.
number=0
for host in "$@"; do
  number=$((number + 1))
  ${SSH:-ssh} "$host" "cd '$PWD' && attn capture -b '${BACKEND:-sdxl}' -m '${MODEL:-demo}' \
    --prompts prompts.txt --seed 0-7 --shard $number/$# --out '${OUT:-run}'" ||
    echo "$host has not finished shard $number/$#" >&2 &
done
wait
