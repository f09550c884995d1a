//! The words a container's process is started with, shell strings taken apart.

use std::collections::BTreeMap;

/// Most words looked at; a command line longer than this is not one.
const MAX_WORDS: usize = 4096;
/// Most characters of a shell string looked at.
const MAX_CHARS: usize = 65_536;

/// Command and arguments as words. A shell (`sh -c "..."`, `bash -lc "..."`)
/// is looked into; of several commands in it, those that name vllm count.
pub(super) fn words(command: &[String], args: &[String], env: &BTreeMap<&str, &str>) -> Vec<String> {
    let all: Vec<String> = command
        .iter()
        .chain(args)
        .take(MAX_WORDS)
        .map(|word| expand_kubernetes(word, env))
        .collect();
    let is_shell = all.first().is_some_and(|first| {
        let name = first.rsplit('/').next().unwrap_or(first);
        matches!(name, "sh" | "bash" | "ash" | "dash" | "zsh")
    });
    let script = all
        .iter()
        .skip(1)
        .position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
        .and_then(|at| all.get(at + 2));
    match script {
        Some(script) if is_shell => {
            let commands = split(script, env);
            let named: Vec<&Vec<String>> = commands
                .iter()
                .filter(|command| command.iter().any(|word| word.contains("vllm")))
                .collect();
            if named.is_empty() {
                commands.into_iter().flatten().collect()
            } else {
                named.into_iter().flatten().cloned().collect()
            }
        }
        _ => all,
    }
}

/// Kubernetes itself puts a variable in place of `$(NAME)`.
fn expand_kubernetes(word: &str, env: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("$(") {
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        match after.find(')').map(|end| (end, env.get(&after[..end]))) {
            Some((end, Some(value))) => {
                out.push_str(value);
                rest = &after[end + 1..];
            }
            _ => {
                out.push_str("$(");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A shell string as simple commands of words: quotes, backslashes, comments,
/// variables that are known, and `&&`, `||`, `;`, `|`, `&` and line ends
/// between commands. No substitution of commands.
fn split(script: &str, env: &BTreeMap<&str, &str>) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = script.chars().take(MAX_CHARS).peekable();
    let finish = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>| {
        if let (Some(word), Some(command)) = (word.take(), commands.last_mut())
            && command.len() < MAX_WORDS
        {
            command.push(word);
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                // A line that goes on.
                Some('\n') | None => {}
                Some(next) => {
                    let text = word.get_or_insert_default();
                    if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') {
                        text.push('\\');
                    }
                    text.push(next);
                }
            },
            (None | Some('"'), '$') => {
                let braced = chars.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(next) = chars.next_if(|n| n.is_ascii_alphanumeric() || *n == '_') {
                    name.push(next);
                }
                let mut default = String::new();
                if braced {
                    // ${NAME:-default}
                    let rest: String = std::iter::from_fn(|| chars.next_if(|n| *n != '}')).collect();
                    chars.next();
                    if let Some(text) = rest.strip_prefix(":-").or_else(|| rest.strip_prefix('-')) {
                        text.clone_into(&mut default);
                    }
                }
                let value = env.get(name.as_str()).copied().unwrap_or(&default);
                if quote.is_some() {
                    word.get_or_insert_default().push_str(value);
                } else {
                    // A variable outside quotes may hold several words.
                    let mut first = true;
                    for piece in value.split_whitespace() {
                        if !first {
                            finish(&mut word, &mut commands);
                        }
                        word.get_or_insert_default().push_str(piece);
                        first = false;
                    }
                }
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '#') if word.is_none() => while chars.next_if(|n| *n != '\n').is_some() {},
            (None, ';' | '|' | '&' | '\n') => {
                finish(&mut word, &mut commands);
                if commands.len() < MAX_WORDS {
                    commands.push(Vec::new());
                }
            }
            (None, c) if c.is_whitespace() => finish(&mut word, &mut commands),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    finish(&mut word, &mut commands);
    commands
}
