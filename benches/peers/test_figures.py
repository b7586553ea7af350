#!/usr/bin/env python3
"""Tests of what needs no engine; `python3 test_figures.py`."""

import unittest

import figures
from engines import last_words
from figures import Shape


class Figures(unittest.TestCase):
    def test_every_engine_is_once_in_a_round_and_first_in_turn(self):
        order = figures.turns("abc", 6)
        self.assertTrue(all(sorted(r) == ["a", "b", "c"] for r in order))
        self.assertEqual([r[0] for r in order], list("abcabc"))

    def test_a_slow_round_leaves_the_ratio_alone(self):
        self.assertEqual(figures.ratios([30.0, 3.0, 30.0], [15.0, 1.5, 15.0]), [2, 2, 2])

    def test_rounds_that_one_lacks_are_left_out(self):
        self.assertEqual(figures.ratios([30.0, 20.0], [15.0]), [2])

    def test_better_is_by_median_and_skips_the_empty(self):
        self.assertEqual(figures.better({"a": [1, 9, 1], "b": [2, 2, 2], "c": []}), "b")
        self.assertIsNone(figures.better({"c": []}))

    def test_spread(self):
        self.assertEqual(figures.spread([3.0, 1.0, 2.0]), "2.0 (1.0 to 3.0)")
        self.assertEqual(figures.spread([2.0]), "2.0")
        self.assertEqual(figures.spread([]), "-")

    def test_table_aligns_and_lets_remarks_be(self):
        rows = [["", "speed", "ratio"], ["longer", "3", "4"], ["c", "cannot: for a reason"]]
        lines = ["        speed  ratio", "longer      3      4", "c       cannot: for a reason"]
        self.assertEqual(figures.table(rows).splitlines(), lines)

    def test_an_error_is_its_last_line_without_the_hint(self):
        panic = "thread 'main' panicked at a.rs:1:2:\nout of range\nnote: run with `RUST_BACKTRACE=1` to see more\n"
        self.assertEqual(last_words(panic), "out of range")
        self.assertEqual(last_words(""), "")

    def test_keys_and_values_of_llama_3_2_1b(self):
        # 16 layers, 8 heads of 64, keys and values, two bytes: 32 KiB a position.
        shape = Shape(layers=16, heads=32, kv_heads=8, head_dim=64, weights=800_000_000, matmul=973_078_528)
        self.assertEqual(shape.kv_bytes(4096), 4096 * 32768)
        self.assertAlmostEqual(figures.slowdown(shape, 0, 4096), 1 + 134_217_728 / 800_000_000)
        # Of attention: 2 * 2048 multiplications for each position seen, in 16 layers.
        self.assertEqual(shape.prefill_macs(4096) - shape.matmul, 16 * 2048 * 2 * 2048)

    def test_local_layers_read_their_window(self):
        shape = Shape(layers=12, heads=4, kv_heads=1, head_dim=256, weights=1, matmul=1, window=512, global_every=6)
        self.assertEqual(shape.positions(100), 12 * 100)
        self.assertEqual(shape.positions(4096), 2 * 4096 + 10 * 512)


if __name__ == "__main__":
    unittest.main()
