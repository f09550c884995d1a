//! Generated reference: written anew with `TIDEGATE_REGENERATE=1`, compared otherwise.

use std::path::Path;
use std::process::Command;

/// Compares `text` with the file `path` of the repository, or writes it.
pub(crate) fn compare(path: &str, text: &str) {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path);
    if std::env::var_os("TIDEGATE_REGENERATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let have = std::fs::read_to_string(&file).unwrap_or_default();
    let first = have.lines().zip(text.lines()).find(|(have, text)| have != text);
    assert!(
        have == text,
        "{path} is out of date ({first:?}); TIDEGATE_REGENERATE=1 cargo test -p tidegate writes it anew"
    );
}

fn help(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(args)
        .arg("--help")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_command_line_reference_is_what_the_binary_says() {
    let mut text = String::from("# Command line\n\nGenerated from the binary; a test compares.\n");
    for args in [
        &[][..],
        &["up"],
        &["load"],
        &["sim"],
        &["why", "variant"],
        &["fleet"],
        &["fleet", "default"],
        &["fleet", "render"],
        &["fleet", "check"],
        &["crds"],
    ] {
        let name = ["tidegate"].iter().chain(args).copied().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("\n## {name}\n\n```\n{}\n```\n", help(args).trim_end()));
    }
    compare("docs/reference/cli.md", &text);
}

#[test]
fn the_custom_resource_reference_is_what_is_installed() {
    let out = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("crds")
        .output()
        .unwrap();
    compare("docs/reference/crds.yaml", &String::from_utf8(out.stdout).unwrap());
}
