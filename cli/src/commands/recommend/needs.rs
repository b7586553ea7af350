//! What the catalogue's models need: their shapes, as their `config.json` files have them.
//!
//! In: a name of the catalogue. Out: multiplications of a prompt's token, bytes that a decoded token reads,
//! bytes of memory.

/// A model's shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    name: &'static str,
    /// It answers questions; a base model only continues texts.
    pub(super) chats: bool,
    layers: u64,
    hidden: u64,
    ffn: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    vocab: u64,
    /// The output matrix is the embedding's.
    tied: bool,
}

#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    Shape { name: "SmolLM2-135M-Instruct", chats: true, layers: 30, hidden: 576, ffn: 1536, heads: 9, kv_heads: 3, head_dim: 64, vocab: 49_152, tied: true },
    Shape { name: "Gemma-3-270M", chats: false, layers: 18, hidden: 640, ffn: 2048, heads: 4, kv_heads: 1, head_dim: 256, vocab: 262_144, tied: true },
    Shape { name: "Gemma-3-270M-it", chats: true, layers: 18, hidden: 640, ffn: 2048, heads: 4, kv_heads: 1, head_dim: 256, vocab: 262_144, tied: true },
    Shape { name: "Qwen2.5-0.5B-Instruct", chats: true, layers: 24, hidden: 896, ffn: 4864, heads: 14, kv_heads: 2, head_dim: 64, vocab: 151_936, tied: true },
    Shape { name: "Qwen3-0.6B", chats: true, layers: 28, hidden: 1024, ffn: 3072, heads: 16, kv_heads: 8, head_dim: 128, vocab: 151_936, tied: true },
    Shape { name: "Gemma-3-1B-it", chats: true, layers: 26, hidden: 1152, ffn: 6912, heads: 4, kv_heads: 1, head_dim: 256, vocab: 262_144, tied: true },
    Shape { name: "Llama-3.2-1B-Instruct", chats: true, layers: 16, hidden: 2048, ffn: 8192, heads: 32, kv_heads: 8, head_dim: 64, vocab: 128_256, tied: true },
    Shape { name: "SmolLM2-1.7B-Instruct", chats: true, layers: 24, hidden: 2048, ffn: 8192, heads: 32, kv_heads: 32, head_dim: 64, vocab: 49_152, tied: true },
    Shape { name: "Qwen2.5-1.5B-Instruct", chats: true, layers: 28, hidden: 1536, ffn: 8960, heads: 12, kv_heads: 2, head_dim: 128, vocab: 151_936, tied: true },
    Shape { name: "Qwen3-1.7B", chats: true, layers: 28, hidden: 2048, ffn: 6144, heads: 16, kv_heads: 8, head_dim: 128, vocab: 151_936, tied: true },
    Shape { name: "Llama-3.2-3B-Instruct", chats: true, layers: 28, hidden: 3072, ffn: 8192, heads: 24, kv_heads: 8, head_dim: 128, vocab: 128_256, tied: true },
    Shape { name: "Qwen3-4B", chats: true, layers: 36, hidden: 2560, ffn: 9728, heads: 32, kv_heads: 8, head_dim: 128, vocab: 151_936, tied: true },
    Shape { name: "Qwen3-8B", chats: true, layers: 36, hidden: 4096, ffn: 12_288, heads: 32, kv_heads: 8, head_dim: 128, vocab: 151_936, tied: false },
];

/// Tokens in a batch of prefill, as `hob` has them by default.
const BATCH: u64 = 256;

impl Shape {
    pub(super) fn of(name: &str) -> Option<&'static Shape> {
        SHAPES.iter().find(|s| s.name == name)
    }

    /// Weights that a token of a prompt is multiplied by: all but the output matrix, which only the last
    /// one needs.
    pub(super) fn multiplied_in_prompts(&self) -> u64 {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attention = self.hidden * (2 * q + 2 * kv);
        let mlp = 3 * self.hidden * self.ffn;
        self.layers * (attention + mlp)
    }

    /// Weights that a decoded token is multiplied by.
    fn multiplied(&self) -> u64 {
        self.multiplied_in_prompts() + self.vocab * self.hidden
    }

    /// Bytes of a file of `size` that one token reads: all, but for an embedding of its own, of which it
    /// reads a row.
    pub(super) fn read_per_token(&self, size: u64) -> u64 {
        let unread = if self.tied {
            0
        } else {
            self.vocab * self.hidden
        };
        let share = self.multiplied() as f64 / (self.multiplied() + unread) as f64;
        (size as f64 * share) as u64
    }

    /// Bytes of memory with a file of `size` and `context` positions of keys and values in f16; working
    /// memory about.
    pub(super) fn memory(&self, size: u64, context: u64) -> u64 {
        let kv = 2 * self.layers * self.kv_heads * self.head_dim * 2 * context;
        let q = self.heads * self.head_dim;
        let working = 4 * (BATCH * (4 * self.hidden + 3 * self.ffn + 2 * q) + self.vocab);
        size + kv + working
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    #[test]
    fn every_model_of_the_catalogue_has_a_shape_that_fits_its_size() {
        for entry in catalogue::all() {
            let shape = Shape::of(entry.name).unwrap_or_else(|| panic!("{}", entry.name));
            let unread = if shape.tied {
                0
            } else {
                shape.vocab * shape.hidden
            };
            let bits = 8.0 * entry.size as f64 / (shape.multiplied() + unread) as f64;
            // From 4-bit to 8-bit formats; some files have the embedding twice.
            println!("{:<24}{bits:.2} bits a weight", entry.name);
            assert!((4.0..10.0).contains(&bits), "{} {bits}", entry.name);
            assert!(shape.read_per_token(entry.size) <= entry.size);
        }
        assert_eq!(SHAPES.len(), catalogue::all().len());
    }

    #[test]
    fn the_weights_are_those_of_the_published_counts() {
        // Without norms; the models' cards say 135M, 1.24B and 8.2B (of which 0.62B are the embedding).
        let millions = |name| Shape::of(name).unwrap().multiplied() / 1_000_000;
        assert_eq!(millions("SmolLM2-135M-Instruct"), 134);
        assert_eq!(millions("Llama-3.2-1B-Instruct"), 1235);
        assert_eq!(millions("Qwen3-8B"), 7568);
    }
}
