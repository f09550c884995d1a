//! Formulas over triggers, by KEDA's own code and by `hpa::keda`: those of its
//! documentation and tests, and made-up ones.

use anyhow::{Context as _, Result, ensure};
use hpa::keda::{Answer, Fallback, FallbackBehavior, Modifiers, ScaledObject, State, Trigger, Workload, composite};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use units::Instant;

/// How many are made up.
const MADE_UP: usize = 3000;
/// Another seed than the usual one.
const SEED: &str = "TIDEGATE_TEST_SEED";
const NAMES: [&str; 3] = ["trig_one", "trig_two", "trig_three"];
const TARGET: &str = "5";
const FALLBACK_REPLICAS: u32 = 4;

const KNOWN: [&str; 14] = [
    "trig_one + trig_two",
    "trig_one * 2",
    "trig_one < 5 ? trig_two + trig_one : 5",
    "float(trig_one < 5 ? trig_two + trig_one : 5)",
    "float(trig_one + 1)",
    "float(trig_one < 2 ? trig_one+trig_two >= 2 ? 5 : 10 : 0)",
    "float(float(trig_two < 5 ? trig_one + trig_two : 5))",
    "count([trig_one,trig_two],{#>1}) > 1 ? 5 : 0",
    "trig_one ?? trig_two ?? 5",
    "trig_one ?? trig_two",
    "(trig_one + trig_two)/2",
    "trig_one > 2 ? trig_one + trig_two : 1",
    "float(trig_one > 1)",
    "trig_one > 1",
];

/// A formula, and the thousandths that each trigger told.
#[derive(Clone, Debug)]
struct Case {
    formula: String,
    told: [Option<i64>; 3],
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(String),
    Failed(String),
    Milli(i64),
}

fn one_of(words: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    proptest::sample::select(words.to_vec())
}

fn comparison() -> impl Strategy<Value = &'static str> {
    one_of(&["<", "<=", ">", ">=", "==", "!="])
}

/// What is true or false of numbers like `n`.
fn condition(n: &BoxedStrategy<String>) -> BoxedStrategy<String> {
    let one = (n.clone(), comparison(), n.clone())
        .prop_map(|(a, op, b)| format!("{a} {op} {b}"))
        .boxed();
    let joined = (one.clone(), one_of(&["&&", "||", "and", "or"]), one.clone());
    let of_list = (
        one_of(&["any", "all", "none", "one"]),
        n.clone(),
        comparison(),
        n.clone(),
    );
    prop_oneof![
        3 => one.clone(),
        1 => joined.prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => (one_of(&["!", "not "]), one).prop_map(|(not, a)| format!("{not}({a})")),
        1 => of_list.prop_map(|(f, a, op, b)| format!("{f}([trig_one, {a}], {{# {op} {b}}})")),
    ]
    .boxed()
}

/// A number, made of numbers like `n`.
fn made_of(n: &BoxedStrategy<String>) -> BoxedStrategy<String> {
    let one = || n.clone();
    let two = || (n.clone(), n.clone());
    let joined = (one(), one_of(&["+", "-", "*", "/"]), one());
    let of_list = (one_of(&["max", "min", "sum", "mean", "median"]), one(), one());
    let of_many = (one_of(&["max", "min", "mean", "median"]), one(), one());
    let of_one = (one_of(&["abs", "ceil", "floor", "round", "float"]), one());
    prop_oneof![
        5 => joined.prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        2 => one().prop_map(|a| format!("({a})")),
        1 => one().prop_map(|a| format!("-({a})")),
        2 => (condition(n), one(), one()).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
        2 => two().prop_map(|(a, b)| format!("(({a}) ?? ({b}))")),
        1 => (one_of(&NAMES), one_of(&NAMES)).prop_map(|(a, b)| format!("({a} ?? {b} ?? 3)")),
        2 => of_list.prop_map(|(f, a, b)| format!("{f}([{a}, {b}])")),
        1 => of_many.prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
        2 => of_one.prop_map(|(f, a)| format!("{f}({a})")),
        1 => (one(), comparison(), one())
            .prop_map(|(a, op, b)| format!("count([trig_one, trig_two, {a}], # {op} {b})")),
        1 => two().prop_map(|(a, b)| format!("len(filter([{a}, trig_two], # > {b}))")),
        1 => two().prop_map(|(a, b)| format!("sum(map([trig_one, {a}], # * ({b})))")),
        1 => (one_of(&NAMES), 1..9u32).prop_map(|(a, b)| format!("(int({a}) % {b})")),
        1 => (one(), one_of(&["**", "^"]), 0..4u32).prop_map(|(a, op, b)| format!("({a}) {op} {b}")),
        1 => two().prop_map(|(a, b)| format!("[{a}, {b}][1]")),
    ]
    .boxed()
}

/// Operands and operators in any order: mostly nonsense, but what is read here
/// must be read as there.
fn wild() -> BoxedStrategy<String> {
    let leaf = one_of(&["trig_one", "trig_two", "trig_three", "2", "0.5", "7", "true", "nil"]).prop_map(str::to_owned);
    let operator = || {
        one_of(&[
            "+", "-", "*", "/", "%", "**", "^", "<", ">=", "==", "!=", "&&", "||", "and", "or", "in", "??",
        ])
    };
    let numbers = || one_of(&["+", "-", "*", "/", "**", "^"]);
    let mixed = move |inner: BoxedStrategy<String>| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            4 => (inner.clone(), numbers(), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            3 => (inner.clone(), operator(), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            2 => (one_of(&["-", "+", "!", "not "]), inner.clone()).prop_map(|(op, a)| format!("{op}{a}")),
            2 => (inner.clone(), one_of(&["<", ">"]), two.clone()).prop_map(|(c, op, (a, b))| format!("{c} {op} {a} ? {b} : 1")),
            1 => inner.prop_map(|a| format!("({a})")),
            1 => two.clone().prop_map(|(a, b)| format!("count([{a}, {b}], # > {a})")),
            1 => two.prop_map(|(a, b)| format!("[{a}, {b}][-1]")),
        ]
    };
    leaf.prop_recursive(4, 16, 3, move |inner| mixed(inner.boxed())).boxed()
}

fn formula() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => one_of(&NAMES).prop_map(str::to_owned),
        1 => (0..20u32).prop_map(|n| n.to_string()),
        1 => (0..2000u32).prop_map(|n| format!("{}.{:02}", n / 100, n % 100)),
    ];
    let number = leaf.prop_recursive(4, 24, 3, |inner| made_of(&inner.boxed())).boxed();
    let (n, two) = (number.clone(), (number.clone(), number.clone()));
    prop_oneof![
        6 => number,
        2 => (condition(&n), n.clone(), n).prop_map(|(c, a, b)| format!("{c} ? {a} : {b}")),
        3 => wild(),
        // Beside another operator this is read in two ways.
        1 => two.prop_map(|(a, b)| format!("{a} ?? {b}")),
    ]
    .boxed()
}

fn cases(seed: u64) -> Result<Vec<Case>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let told = || proptest::option::weighted(0.8, 0..20_000i64);
    let told = proptest::array::uniform3(told());
    let known = KNOWN.map(str::to_owned).to_vec();
    let (formulas, mut all) = (formula(), Vec::new());
    for i in 0..MADE_UP {
        let formula = match known.get(i / 4) {
            Some(known) => known.clone(),
            None => pick(&formulas, &mut runner)?,
        };
        let told = pick(&told, &mut runner)?;
        all.push(Case { formula, told });
    }
    Ok(all)
}

fn pick<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> Result<S::Value> {
    let tree = strategy.new_tree(runner).map_err(|why| anyhow::anyhow!("{why}"))?;
    Ok(tree.current())
}

/// What KEDA makes of them, by its client.
fn by_keda(probe: &Path, cases: &[Case]) -> Result<Vec<Outcome>> {
    let mut input = tempfile::tempfile()?;
    for case in cases {
        let triggers: Vec<Value> = (NAMES.iter().zip(case.told))
            .map(|(name, milli)| json!({"name": name, "milli": milli}))
            .collect();
        let line = json!({"formula": case.formula, "target": TARGET, "triggers": triggers,
            "fallbackReplicas": FALLBACK_REPLICAS});
        writeln!(input, "{line}")?;
    }
    std::io::Seek::rewind(&mut input)?;
    let output = Command::new(probe).arg("formulas").stdin(Stdio::from(input)).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the client ended with {}: {said}",
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    let outcomes: Vec<Outcome> = text.lines().map(outcome).collect::<Result<_>>()?;
    ensure!(
        outcomes.len() == cases.len(),
        "{} answers to {} cases",
        outcomes.len(),
        cases.len()
    );
    Ok(outcomes)
}

fn outcome(line: &str) -> Result<Outcome> {
    let answer: Value = serde_json::from_str(line)?;
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    let refused = text("refused").map(Outcome::Refused);
    let failed = text("error").map(Outcome::Failed);
    let milli = answer["milli"].as_i64().map(Outcome::Milli);
    refused.or(failed).or(milli).with_context(|| line.to_owned())
}

/// What our core makes of one.
fn by_core(case: &Case) -> Outcome {
    let named = |(i, name): (usize, &&str)| Trigger::new(format!("s{i}-external"), 1.0).called(*name);
    let triggers: Vec<Trigger> = NAMES.iter().enumerate().map(named).collect();
    let modifiers = match Modifiers::new(&case.formula, TARGET, &triggers) {
        Ok(modifiers) => modifiers,
        Err(why) => return Outcome::Refused(why.to_string()),
    };
    let object = ScaledObject {
        modifiers: Some(modifiers),
        fallback: Some(Fallback {
            failure_threshold: 0,
            replicas: FALLBACK_REPLICAS,
            behavior: FallbackBehavior::ScalingModifiers,
        }),
        ..ScaledObject::new(triggers, Instant::from_secs(0))
    };
    let answers = case.told.map(|milli| match milli {
        Some(milli) => Answer::Value(milli as f64 / 1000.0),
        None => Answer::Failed("away".to_owned()),
    });
    let workload = Workload { replicas: 1, ready: 1 };
    match composite(&object, &mut State::default(), &answers, workload) {
        Ok(reported) => Outcome::Milli(reported.milli),
        Err(why) => Outcome::Failed(why),
    }
}

/// Whether ours is what KEDA's is. Powers may differ in the last digits; KEDA
/// hands on what becomes of a number that is too large, ours says that it is;
/// some formulas that KEDA takes ours refuses, and some that it falls
/// over (an int that `==` holds against what may be a float) have a value here.
fn agree(ours: &Outcome, theirs: &Outcome) -> bool {
    match (ours, theirs) {
        (Outcome::Milli(ours), Outcome::Milli(theirs)) => {
            ours.abs_diff(*theirs) <= 1 + theirs.unsigned_abs() / 1_000_000_000_000
        }
        (Outcome::Failed(_), Outcome::Failed(_)) | (Outcome::Refused(_), _) => true,
        (Outcome::Failed(why), Outcome::Milli(i64::MIN)) => why.contains("no metric can carry"),
        (_, Outcome::Refused(why) | Outcome::Failed(why)) => why.contains("interface conversion"),
        _ => false,
    }
}

pub(crate) fn compared(probe: &Path) -> Result<String> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed}"))?,
        Err(_) => 1,
    };
    let cases = cases(seed)?;
    let theirs = by_keda(probe, &cases)?;
    let (mut values, mut stricter) = (0, 0);
    for (case, theirs) in cases.iter().zip(&theirs) {
        let ours = by_core(case);
        ensure!(
            agree(&ours, theirs),
            "seed {seed}, {} over {:?}: KEDA {theirs:?}, ours {ours:?}",
            case.formula,
            case.told
        );
        values += usize::from(matches!((&ours, theirs), (Outcome::Milli(_), Outcome::Milli(_))));
        stricter += usize::from(matches!((&ours, theirs), (Outcome::Refused(_), Outcome::Milli(_))));
    }
    ensure!(values * 5 > MADE_UP * 2, "only {values} of {MADE_UP} have a value");
    ensure!(
        stricter * 20 < MADE_UP,
        "{stricter} of {MADE_UP} that KEDA takes are refused"
    );
    Ok(format!(
        "{MADE_UP} formulas, seed {seed}: {values} have the same value, {stricter} that KEDA takes are refused"
    ))
}
