//! Accelerators, from their makers' data sheets.

use crate::Dtype;

/// What a data sheet says of one accelerator. Rates are dense (no structured
/// sparsity), memory is what the product name promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// The short name, as people write it.
    pub name: &'static str,
    /// Device memory, GiB.
    pub memory_gib: f64,
    /// Memory bandwidth, bytes per second.
    pub bandwidth: f64,
    /// Matrix arithmetic in bfloat16, FLOP per second.
    pub bf16_flops: f64,
    /// Matrix arithmetic in 8-bit floats, FLOP per second; the bfloat16 rate
    /// where the hardware has no such units (weights are widened first).
    pub fp8_flops: f64,
    /// Bytes per second one GPU sends to its peers while an all-reduce runs.
    pub link: f64,
}

const fn gpu(name: &'static str, memory_gib: f64, tb_s: f64, bf16: f64, fp8: f64, link_gb_s: f64) -> Gpu {
    Gpu {
        name,
        memory_gib,
        bandwidth: tb_s * 1e12,
        bf16_flops: bf16 * 1e12,
        fp8_flops: fp8 * 1e12,
        link: link_gb_s * 1e9,
    }
}

/// The accelerators known by name.
pub const GPUS: &[Gpu] = &[
    //  name            GiB    TB/s   bf16 TF  fp8 TF  link GB/s
    gpu("B200", 180.0, 8.0, 2250.0, 4500.0, 900.0),
    gpu("H200", 141.0, 4.8, 989.5, 1979.0, 450.0),
    gpu("H100", 80.0, 3.35, 989.5, 1979.0, 450.0),
    gpu("H100-PCIE", 80.0, 2.0, 756.0, 1513.0, 32.0),
    gpu("MI300X", 192.0, 5.3, 1307.4, 2614.9, 448.0),
    gpu("A100-80G", 80.0, 2.039, 312.0, 312.0, 300.0),
    gpu("A100-40G", 40.0, 1.555, 312.0, 312.0, 300.0),
    gpu("L40S", 48.0, 0.864, 362.05, 733.0, 32.0),
    gpu("L4", 24.0, 0.3, 121.0, 242.0, 32.0),
    gpu("A10G", 24.0, 0.6, 70.0, 70.0, 32.0),
    gpu("RTX-4090", 24.0, 1.008, 165.2, 330.3, 32.0),
];

impl Gpu {
    /// The accelerator called `name`: the short name, or the product name that
    /// GPU discovery puts on a node (`NVIDIA-H100-80GB-HBM3`), in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let wanted = squeeze(name);
        if let Some(gpu) = GPUS.iter().find(|gpu| squeeze(gpu.name) == wanted) {
            return Some(gpu);
        }
        let product = [
            ("h100pcie", "H100-PCIE"),
            ("a100sxm440gb", "A100-40G"),
            ("a100pcie40gb", "A100-40G"),
            ("a10040gb", "A100-40G"),
            ("a100", "A100-80G"),
            ("b200", "B200"),
            ("h200", "H200"),
            ("h100", "H100"),
            ("mi300x", "MI300X"),
            ("l40s", "L40S"),
            ("a10g", "A10G"),
            ("rtx4090", "RTX-4090"),
        ];
        let short = product
            .iter()
            .find(|(part, _)| wanted.contains(part))
            .map(|(_, short)| *short)
            .or_else(|| {
                // Two letters are too few to look for inside a word.
                matches!(wanted.as_str(), "nvidial4" | "teslal4").then_some("L4")
            })?;
        GPUS.iter().find(|gpu| gpu.name == short)
    }

    /// The short names, for an error message.
    #[must_use]
    pub fn names() -> String {
        GPUS.iter().map(|gpu| gpu.name).collect::<Vec<_>>().join(", ")
    }

    /// FLOP per second with weights of type `dtype`.
    #[must_use]
    pub const fn flops(&self, dtype: Dtype) -> f64 {
        match dtype {
            Dtype::Bf16 => self.bf16_flops,
            Dtype::Fp8 => self.fp8_flops,
        }
    }
}

fn squeeze(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_found_by_its_short_and_its_product_name() {
        for (asked, found) in [
            ("h100", "H100"),
            ("NVIDIA-H100-80GB-HBM3", "H100"),
            ("NVIDIA-H100-PCIe", "H100-PCIE"),
            ("NVIDIA-A100-SXM4-80GB", "A100-80G"),
            ("NVIDIA-A100-SXM4-40GB", "A100-40G"),
            ("a100", "A100-80G"),
            ("NVIDIA-L4", "L4"),
            ("L4", "L4"),
            ("NVIDIA-L40S", "L40S"),
            ("NVIDIA-A10G", "A10G"),
            ("mi300x", "MI300X"),
        ] {
            assert_eq!(Gpu::named(asked).map(|gpu| gpu.name), Some(found), "{asked}");
        }
        assert_eq!(Gpu::named("abacus"), None);
        assert_eq!(Gpu::named(""), None);
    }
}
