use super::*;

fn composite(gpu: &str, model: &str, tensor_parallel: u32) -> StepTime {
    let gpu = Gpu::named(gpu).unwrap();
    let model = Model::named(model).unwrap();
    let mut composite = Composite::new(gpu, model, Dtype::Bf16, tensor_parallel);
    // The published table leaves communication out.
    composite.all_reduce_token_s = 0.0;
    StepTime::Composite(composite)
}

fn decode(batch: u32) -> Work {
    let mut work = Work::default();
    (0..batch).for_each(|_| work.add(1, 1024));
    work
}

fn prefill(tokens: u32) -> Work {
    let mut work = Work::default();
    work.add(tokens, 0);
    work
}

fn mixed() -> Work {
    let mut work = decode(63);
    work.add(1985, 0);
    work
}

/// GPU, model, GPUs, decode at six batch sizes, prefill at five lengths, mixed.
type Row = (&'static str, &'static str, u32, [f64; 6], [f64; 5], f64);

#[rustfmt::skip]
const PUBLISHED_MS: &[Row] = &[
    ("H100", "Llama-3.1-8B", 1, [7.19, 7.77, 9.75, 12.38, 17.66, 28.22], [7.14, 12.04, 23.13, 45.94, 200.17], 51.03),
    ("A100-80G", "Llama-3.1-8B", 1, [11.07, 11.99, 15.18, 19.42, 27.92, 52.22], [18.33, 35.68, 70.85, 143.17, 632.34], 151.21),
    ("L40S", "Llama-3.1-8B", 1, [24.54, 26.69, 34.06, 43.89, 63.55, 102.86], [24.31, 30.90, 61.22, 123.54, 545.08], 142.62),
    ("H200", "Llama-3.1-8B", 1, [5.37, 5.78, 7.19, 9.08, 12.85, 21.62], [6.57, 12.04, 23.13, 45.94, 200.17], 49.55),
    ("H100", "Llama-2-7B", 1, [6.99, 9.21, 16.81, 26.95, 47.22, 87.76], [6.71, 11.26, 21.58, 42.83, 187.74], 62.68),
    ("H100", "Llama-2-70B", 4, [17.34, 17.71, 18.99, 20.69, 24.10, 30.91], [17.33, 29.26, 56.08, 110.50, 458.78], 113.73),
];

#[test]
fn the_composite_gives_the_published_step_times() {
    let close = |got: Duration, wanted_ms: f64, what: String| {
        let got_ms = got.as_secs_f64() * 1e3;
        // Two digits were printed.
        assert!(
            (got_ms - wanted_ms).abs() <= 0.006 + 0.0002 * wanted_ms,
            "{what}: {got_ms:.3} ms, not {wanted_ms}"
        );
    };
    for &(gpu, model, gpus, decodes, prefills, both) in PUBLISHED_MS {
        let time = composite(gpu, model, gpus);
        for (batch, wanted) in [1, 8, 32, 64, 128, 256].into_iter().zip(decodes) {
            close(
                time.of(&decode(batch)),
                wanted,
                format!("{model} on {gpu}, decode batch {batch}"),
            );
        }
        for (tokens, wanted) in [256, 512, 1024, 2048, 8192].into_iter().zip(prefills) {
            close(
                time.of(&prefill(tokens)),
                wanted,
                format!("{model} on {gpu}, prefill of {tokens}"),
            );
        }
        close(time.of(&mixed()), both, format!("{model} on {gpu}, mixed step"));
    }
}

#[test]
fn the_linear_model_gives_the_published_latencies() {
    let linear = StepTime::Linear(Linear {
        alpha_s: 6.973e-3,
        beta_s: 0.027e-3,
        gamma_s: 5e-3,
        delta_s: 0.02e-3,
    });
    assert_eq!(linear.of(&decode(1)), Duration::from_micros(7000));
    assert_eq!(linear.of(&decode(64)), Duration::from_micros(8701));
    assert_eq!(linear.of(&prefill(128)), Duration::from_micros(7560));
}

#[test]
fn eight_bit_weights_halve_reading_and_arithmetic() {
    let gpu = Gpu::named("H100").unwrap();
    let model = Model::named("Llama-3.1-8B").unwrap();
    let wide = Composite::new(gpu, model, Dtype::Bf16, 1);
    let narrow = Composite::new(gpu, model, Dtype::Fp8, 1);
    assert!((narrow.weights_s / wide.weights_s - 0.5).abs() < 1e-9);
    assert!((narrow.token_s / wide.token_s - 0.5).abs() < 1e-9);
    assert_eq!(narrow.kv_token_s, wide.kv_token_s);
}

#[test]
fn splitting_a_model_costs_communication() {
    let gpu = Gpu::named("H100").unwrap();
    let model = Model::named("Llama-3.1-70B").unwrap();
    assert_eq!(Composite::new(gpu, model, Dtype::Bf16, 1).all_reduce_token_s, 0.0);
    let four = StepTime::Composite(Composite::new(gpu, model, Dtype::Bf16, 4));
    let silent = composite("H100", "Llama-3.1-70B", 4);
    assert!(four.of(&prefill(8192)) > silent.of(&prefill(8192)));
}

#[test]
fn an_impossible_parameter_is_named() {
    let mut linear = Linear {
        alpha_s: 0.0,
        beta_s: f64::NAN,
        gamma_s: 0.0,
        delta_s: 0.0,
    };
    let error = StepTime::Linear(linear).check().unwrap_err();
    assert_eq!(error.parameter, "beta");
    linear.beta_s = 0.0;
    assert_eq!(StepTime::Linear(linear).check(), Ok(()));
    assert!(StepTime::Linear(linear).of(&decode(1)) > Duration::ZERO);
}
