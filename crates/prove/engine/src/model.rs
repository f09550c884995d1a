//! Language models, by the shape of their layers.

/// The number type of a model's weights. The KV cache stays in bfloat16, as it
/// does in vLLM unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// bfloat16, two bytes.
    Bf16,
    /// 8-bit floats, one byte.
    Fp8,
}

impl Dtype {
    /// Bytes of one weight.
    #[must_use]
    pub const fn bytes(self) -> f64 {
        match self {
            Self::Bf16 => 2.0,
            Self::Fp8 => 1.0,
        }
    }

    /// The type called `name`: `bf16`, `bfloat16`, `fp16`, `float16`, `half`,
    /// `auto` (all two bytes) or `fp8`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "auto" | "bf16" | "bfloat16" | "fp16" | "float16" | "half" => Some(Self::Bf16),
            "fp8" => Some(Self::Fp8),
            _ => None,
        }
    }
}

/// A dense decoder: attention with grouped KV heads and a gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name, as in `Llama-3.1-8B`.
    pub name: &'static str,
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Width of the MLP.
    pub intermediate: u32,
    /// Vocabulary entries.
    pub vocab: u32,
    /// Whether input and output embedding are one matrix.
    pub tied: bool,
    /// Longest context the model was made for, tokens.
    pub max_len: u32,
}

/// The models known by name.
#[rustfmt::skip]
pub const MODELS: &[Model] = &[
    Model { name: "Llama-3.1-8B", layers: 32, hidden: 4096, heads: 32, kv_heads: 8, head_dim: 128, intermediate: 14336, vocab: 128_256, tied: false, max_len: 131_072 },
    Model { name: "Llama-3.1-70B", layers: 80, hidden: 8192, heads: 64, kv_heads: 8, head_dim: 128, intermediate: 28672, vocab: 128_256, tied: false, max_len: 131_072 },
    Model { name: "Llama-3.2-1B", layers: 16, hidden: 2048, heads: 32, kv_heads: 8, head_dim: 64, intermediate: 8192, vocab: 128_256, tied: true, max_len: 131_072 },
    Model { name: "Llama-3.2-3B", layers: 28, hidden: 3072, heads: 24, kv_heads: 8, head_dim: 128, intermediate: 8192, vocab: 128_256, tied: true, max_len: 131_072 },
    Model { name: "Llama-2-7B", layers: 32, hidden: 4096, heads: 32, kv_heads: 32, head_dim: 128, intermediate: 11008, vocab: 32_000, tied: false, max_len: 4096 },
    Model { name: "Llama-2-70B", layers: 80, hidden: 8192, heads: 64, kv_heads: 8, head_dim: 128, intermediate: 28672, vocab: 32_000, tied: false, max_len: 4096 },
    Model { name: "Qwen2.5-0.5B", layers: 24, hidden: 896, heads: 14, kv_heads: 2, head_dim: 64, intermediate: 4864, vocab: 151_936, tied: true, max_len: 32_768 },
    Model { name: "Qwen2.5-7B", layers: 28, hidden: 3584, heads: 28, kv_heads: 4, head_dim: 128, intermediate: 18944, vocab: 152_064, tied: false, max_len: 32_768 },
    Model { name: "Qwen3-0.6B", layers: 28, hidden: 1024, heads: 16, kv_heads: 8, head_dim: 128, intermediate: 3072, vocab: 151_936, tied: true, max_len: 40_960 },
    Model { name: "Qwen3-8B", layers: 36, hidden: 4096, heads: 32, kv_heads: 8, head_dim: 128, intermediate: 12288, vocab: 151_936, tied: false, max_len: 40_960 },
    Model { name: "Qwen3-32B", layers: 64, hidden: 5120, heads: 64, kv_heads: 8, head_dim: 128, intermediate: 25600, vocab: 151_936, tied: false, max_len: 40_960 },
];

impl Model {
    /// The model called `name`: a name of [`MODELS`] or a repository name on a
    /// model hub that contains it (`meta-llama/Llama-3.1-8B-Instruct`), in any
    /// case; `llama-8b` and `llama-70b` mean Llama 3.1.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let last = name
            .rsplit('/')
            .next()
            .unwrap_or(name)
            .to_ascii_lowercase()
            .replace(['_', ' '], "-");
        let last = last.strip_prefix("meta-").unwrap_or(&last);
        let wanted = match last {
            "llama-8b" | "llama-3-8b" => "llama-3.1-8b",
            "llama-70b" | "llama-3-70b" | "llama-3.3-70b" => "llama-3.1-70b",
            other => other,
        };
        MODELS.iter().find(|model| {
            let known = model.name.to_ascii_lowercase();
            // What follows the name must be a suffix (`-Instruct`), not more of a number.
            wanted
                .strip_prefix(&known)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }

    /// The names, for an error message.
    #[must_use]
    pub fn names() -> String {
        MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
    }

    /// Parameters every token passes through: all but the embeddings.
    #[must_use]
    pub fn block_parameters(&self) -> f64 {
        let hidden = f64::from(self.hidden);
        let query = hidden * f64::from(self.heads) * f64::from(self.head_dim);
        let key_value = hidden * f64::from(self.kv_heads) * f64::from(self.head_dim);
        let mlp = hidden * f64::from(self.intermediate);
        f64::from(self.layers) * (2.0 * query + 2.0 * key_value + 3.0 * mlp)
    }

    /// All parameters, embeddings included.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        let embeddings = if self.tied { 1.0 } else { 2.0 };
        self.block_parameters() + embeddings * f64::from(self.vocab) * f64::from(self.hidden)
    }

    /// Bytes of KV cache of one token, over all GPUs.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> f64 {
        2.0 * f64::from(self.layers) * f64::from(self.kv_heads) * f64::from(self.head_dim) * 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_the_names_people_use() {
        for (asked, found) in [
            ("meta-llama/Llama-3.1-8B-Instruct", Some("Llama-3.1-8B")),
            ("meta-llama/Meta-Llama-3.1-70B-Instruct", Some("Llama-3.1-70B")),
            ("llama-8b", Some("Llama-3.1-8B")),
            ("Qwen/Qwen2.5-0.5B-Instruct", Some("Qwen2.5-0.5B")),
            ("Qwen/Qwen3-8B", Some("Qwen3-8B")),
            ("meta-llama/Llama-2-7b-hf", Some("Llama-2-7B")),
            ("Qwen/Qwen3-8B2", None),
            ("gpt-x", None),
            ("", None),
        ] {
            assert_eq!(Model::named(asked).map(|model| model.name), found, "{asked}");
        }
    }

    #[test]
    fn parameters_and_kv_bytes_are_the_published_ones() {
        for (name, billions, kv) in [
            ("Llama-3.1-8B", 8.03, 131_072.0),
            ("Llama-3.1-70B", 70.55, 327_680.0),
            ("Llama-2-7B", 6.74, 524_288.0),
            ("Llama-3.2-1B", 1.24, 32_768.0),
            ("Qwen2.5-0.5B", 0.494, 12_288.0),
            ("Qwen2.5-7B", 7.61, 57_344.0),
            ("Qwen3-0.6B", 0.596, 114_688.0),
            ("Qwen3-8B", 8.19, 147_456.0),
            ("Qwen3-32B", 32.76, 262_144.0),
        ] {
            let model = Model::named(name).unwrap();
            let parameters = model.parameters() / 1e9;
            assert!((parameters / billions - 1.0).abs() < 0.005, "{name}: {parameters}");
            assert_eq!(model.kv_bytes_per_token(), kv, "{name}");
        }
    }
}
