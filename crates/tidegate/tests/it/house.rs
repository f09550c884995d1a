//! Arrows point one way: binary -> shells -> cores -> units.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const CORES: [&str; 5] = ["flow", "pick", "capacity", "hpa", "engine"];

fn root() -> PathBuf {
    testkit::root().unwrap()
}

/// Dependencies (not those of tests) of each package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let needed = package["dependencies"].as_array().unwrap().iter();
            let needed = needed
                .filter(|d| d["kind"].is_null())
                .map(|d| d["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), needed.collect())
        })
        .collect()
}

#[test]
fn a_core_knows_nothing_but_units() {
    let dependencies = dependencies();
    // The lab is where cores meet: it plays the policies of one verb on the worlds of another.
    let met: Vec<_> = dependencies["lab"]
        .iter()
        .filter(|d| !CORES.contains(&d.as_str()) && !["units", "thiserror"].contains(&d.as_str()))
        .collect();
    assert!(met.is_empty(), "lab is a core of cores, and depends on {met:?}");
    for core in CORES {
        // thiserror only derives; it brings no behaviour.
        let others: Vec<_> = dependencies[core]
            .iter()
            .filter(|d| !["units", "thiserror"].contains(&d.as_str()))
            .collect();
        assert!(others.is_empty(), "{core} is a core, and depends on {others:?}");
    }
    assert!(dependencies["units"].is_empty());
}

#[test]
fn nothing_but_the_binary_brings_two_verbs_together() {
    let verbs: [(&str, &[&str]); 4] = [
        ("route", &["flow", "pick", "gateway"]),
        ("scale", &["capacity", "hpa", "collect", "autoscaler", "publish"]),
        ("prove", &["engine", "modelserver", "load"]),
        ("local", &["apiserver", "cluster"]),
    ];
    let dependencies = dependencies();
    for (verb, crates) in verbs {
        for name in crates {
            for (other, theirs) in verbs.iter().filter(|(other, _)| *other != verb) {
                let shared = theirs.iter().filter(|t| dependencies[*name].contains(**t));
                // The arithmetic of the HPA is Kubernetes' own and no decision of `scale`: the controller that takes
                // Kubernetes' place in the local cluster runs the same as the models of it in virtual time.
                let shared: Vec<_> = shared.filter(|t| (*name, **t) != ("cluster", "hpa")).collect();
                assert!(shared.is_empty(), "{name} of {verb} depends on {shared:?} of {other}");
            }
        }
    }
}

#[test]
fn a_core_reads_no_clock_file_environment_or_global_random_source() {
    const BANNED: [&str; 9] = [
        "std::time::Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "std::sync",
        "println!",
        "RandomState",
    ];
    for folder in [
        "base/units",
        "route/flow",
        "route/pick",
        "scale/capacity",
        "scale/hpa",
        "prove/engine",
        "prove/lab",
    ] {
        let mut files = Vec::new();
        collect(&root().join("crates").join(folder).join("src"), &mut files);
        assert!(!files.is_empty(), "{folder}");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = BANNED.iter().find(|word| code.contains(**word)) {
                    panic!("{}:{}: a core uses {word}", file.display(), number + 1);
                }
            }
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn custom_resources_are_derived_in_one_crate() {
    // CRDs are derived in one place.
    let mut files = Vec::new();
    collect(&root().join("crates"), &mut files);
    let derive = concat!("derive(", "CustomResource");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let here = file.components().any(|c| c.as_os_str() == "api");
        assert!(
            here || !text.contains(derive),
            "{} derives a custom resource",
            file.display()
        );
    }
}
