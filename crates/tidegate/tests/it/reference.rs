//! Generated reference: written anew with `TIDEGATE_REGENERATE=1`, compared otherwise.

use std::process::Command;

/// Compares `text` with the file `path` of the repository, or writes it.
pub(crate) fn compare(path: &str, text: &str) {
    let file = testkit::root().unwrap().join(path);
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

/// The names below `Commands:`, in their order.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    list.take_while(|line| !line.is_empty())
        // A line that goes on with a description begins further to the right.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The help of a command, and of those below it.
fn describe(args: &[&str], text: &mut String) {
    let name = ["tidegate"].iter().chain(args).copied().collect::<Vec<_>>().join(" ");
    let help = help(args);
    text.push_str(&format!("\n## {name}\n\n```\n{}\n```\n", help.trim_end()));
    for below in subcommands(&help) {
        describe(&[args, &[below.as_str()]].concat(), text);
    }
}

#[test]
fn the_command_line_reference_is_what_the_binary_says() {
    let mut text = String::from("# Command line\n\nGenerated from the binary; a test compares.\n");
    describe(&[], &mut text);
    for name in ["## tidegate fleet render\n", "## tidegate lab scoreboard\n"] {
        assert!(text.contains(name), "{name} is not described");
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

/// What `tidegate fleet check` says of a file.
fn check(yaml: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let out = command.args(["fleet", "check"]).arg(&file).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_example_of_the_fleet_page_is_right_and_shows_every_key() {
    let page = include_str!("../../../../docs/fleet.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let (right, said) = check(example);
    assert!(right, "{said}");
    // An unknown key, put into each kind of mapping in turn, is answered with the known ones.
    let mappings = [
        ("nodes:", "zzz: 1\nnodes:"),
        ("- name: gpu-a", "- zzz: 1\n  name: gpu-a"),
        ("gpus: {", "gpus: {zzz: 1, "),
        ("- name: qwen ", "- zzz: 1\n  name: qwen "),
        ("slo: {", "slo: {zzz: 1, "),
        ("  - name: qwen-vllm", "  - zzz: 1\n    name: qwen-vllm"),
        ("replicas: {", "replicas: {zzz: 1, "),
    ];
    for (place, with_unknown) in mappings {
        assert_eq!(example.matches(place).count(), 1, "{place}");
        let (right, said) = check(&example.replace(place, with_unknown));
        assert!(!right, "{place}");
        let known = said
            .split("expected one of ")
            .nth(1)
            .unwrap_or_else(|| panic!("{said}"));
        for key in known.lines().next().unwrap().split(", ") {
            assert!(
                example.contains(&format!("{key}:")),
                "docs/fleet.md does not show `{key}`"
            );
        }
    }
}
