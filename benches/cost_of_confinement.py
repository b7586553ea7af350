#!/usr/bin/env python3
"""What confinement costs: `hob` as it is beside `hob --no-sandbox`, in turns, on an idle machine.

    python3 benches/cost_of_confinement.py HOB MODEL [ROUNDS]

Prints the medians of prefill and decode speed, and of the time from the start of the process to its end
after one token, with the median of the ratios or differences of the pairs.
"""

import json
import statistics
import subprocess
import sys
import time


def bench(hob, model, extra):
    command = [hob, "bench", model, "--prompt", "256", "--gen", "64", "--repeat", "3", "--json", *extra]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found["prefill_tok_s"], found["decode_tok_s"]


def start(command, text, extra):
    began = time.perf_counter()
    subprocess.run([*command, "--max-tokens", "1", *extra], input=text, capture_output=True, check=True)
    return (time.perf_counter() - began) * 1e3


def pairs(rounds, measure):
    """Of each round the confined figure and the other, which takes turns to come first."""
    found = []
    for i in range(rounds):
        both = [None, None]
        for which in ((0, 1) if i % 2 else (1, 0)):
            both[which] = measure([] if which == 0 else ["--no-sandbox"])
        found.append(both)
    return found


def main():
    hob, model, *rest = sys.argv[1:]
    rounds = int(rest[0]) if rest else 7
    median = statistics.median
    speeds = pairs(rounds, lambda extra: bench(hob, model, extra))
    for i, name in enumerate(("prefill", "decode")):
        ratio = median(a[i] / b[i] for a, b in speeds)
        confined, free = (median(pair[which][i] for pair in speeds) for which in (0, 1))
        print(f"{name}: {confined:.1f} tokens/s confined, {free:.1f} not; ratio {ratio:.4f}")
    for name, command, text in (
        ("run", [hob, "run", model, "Hi"], None),
        ("chat", [hob, "chat", model], b"Hi\n"),
    ):
        times = pairs(3 * rounds, lambda extra: start(command, text, extra))
        more = median(a - b for a, b in times)
        confined, free = (median(pair[which] for pair in times) for which in (0, 1))
        print(f"{name}, start to end with one token: {confined:.1f} ms confined, {free:.1f} not; {more:+.1f} ms")


if __name__ == "__main__":
    main()
