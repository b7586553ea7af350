"""What is computed from measurements, and how it is shown. No process, no file, no clock: test_figures.py
tests it with Python alone."""

import statistics
from dataclasses import dataclass

median = statistics.median


def turns(engines, rounds):
    """The order of engines in each round: every one in turn is the first, so that what wears off
    within a round (a warm cache, a boosted clock) favours none."""
    engines = list(engines)
    return [[engines[(r + i) % len(engines)] for i in range(len(engines))] for r in range(rounds)]


def ratios(ours, theirs):
    """Of each round that both have, ours over theirs: what slows a whole round cancels."""
    return [a / b for a, b in zip(ours, theirs)]


def better(series):
    """The name of the series with the highest median, of those with a figure."""
    known = {name: values for name, values in series.items() if values}
    return max(known, key=lambda name: median(known[name])) if known else None


def spread(values, digits=1):
    """The median, and the lowest and highest in brackets."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(rows):
    """Rows of cells as lines, under a head: the first column to the left, the others to the right. A row of two
    cells under a longer head is a remark."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*full)]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for first, *others in rows:
        cells = [c.rjust(w) for c, w in zip(others, widths[1:])] if len(others) == len(widths) - 1 else others
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


@dataclass
class Shape:
    """What of a model decides how many bytes and multiplications a token takes."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    weights: int  # bytes read for a token of decode: all matrices but an embedding that is not tied
    matmul: int  # multiplications of a token in the layers' matrices
    window: int | None = None  # positions that local layers see
    global_every: int = 1  # of so many layers one sees all positions

    def positions(self, depth):
        """Positions that one token reads at a depth, summed over layers."""
        far = self.layers if self.window is None else self.layers // self.global_every
        return far * depth + (self.layers - far) * min(depth, self.window or depth)

    def kv_bytes(self, depth, element=2):
        """Bytes of keys and values that one token reads at a depth; in f16 unless told."""
        return self.positions(depth) * self.kv_heads * self.head_dim * 2 * element

    def decode_bytes(self, depth):
        return self.weights + self.kv_bytes(depth)

    def prefill_macs(self, tokens):
        """Multiplications of a prompt's token, on average: it sees half of the prompt."""
        return self.matmul + self.positions(tokens / 2) * self.heads * self.head_dim * 2


def slowdown(shape, near, far):
    """How many times longer a token of decode takes at depth `far` than at `near`, if time goes with
    the bytes read."""
    return shape.decode_bytes(far) / shape.decode_bytes(near)
