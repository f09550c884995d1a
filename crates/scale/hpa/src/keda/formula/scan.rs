//! Looks through a formula, word by word, for what is not taken.

/// Longest formula, bytes.
const LONGEST: usize = 2_000;
/// Brackets within brackets.
const DEEPEST: usize = 32;

/// The functions of numbers, and of lists of them.
const FUNCTIONS: [&str; 19] = [
    "abs", "all", "any", "ceil", "count", "filter", "float", "floor", "int", "len", "map", "max", "mean", "median",
    "min", "none", "one", "round", "sum",
];
const WORDS: [&str; 7] = ["and", "false", "in", "nil", "not", "or", "true"];

/// What stands between brackets at one depth, up to the next comma.
#[derive(Clone, Copy, Default)]
struct Level {
    opened_by: Option<u8>,
    coalesces: bool,
    other: Option<&'static str>,
}

impl Level {
    /// Both implementations read `a ?? b + c`, and neither as the other does.
    fn mixed(self) -> Result<(), String> {
        match self.other {
            Some(operator) if self.coalesces => Err(format!(
                "?? beside {operator}: put what ?? joins into parentheses, as in (a ?? 0) {operator} b"
            )),
            _ => Ok(()),
        }
    }
}

/// Says what in `text` is not taken, if something is.
pub(super) fn check(text: &str, names: &[&str]) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty: say how the triggers make one number".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("has {} bytes: at most {LONGEST} are taken", text.len()));
    }
    let mut levels = vec![Level::default()];
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            _ if first.is_ascii_whitespace() => 1,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word = &rest[..length_of(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_')];
                let called = rest[word.len()..].trim_start().starts_with('(');
                if !names.contains(&word) {
                    known(word, called, names)?;
                }
                if let Some(operator) = operator_of(word) {
                    note(&mut levels, operator);
                }
                word.len()
            }
            b'0'..=b'9' | b'.' => {
                let number = length_of(rest, |byte| {
                    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'
                });
                if first == b'.' || rest[..number].contains("..") {
                    return Err("a . that is in no number: ranges and fields are not taken".to_owned());
                }
                number
            }
            // The item that a function of lists looks at.
            b'#' => 1,
            b'(' | b'[' | b'{' => {
                if levels.len() > DEEPEST {
                    return Err(format!("has brackets more than {DEEPEST} deep"));
                }
                levels.push(Level {
                    opened_by: Some(first),
                    ..Level::default()
                });
                1
            }
            b')' | b']' | b'}' => {
                let level = levels.pop().unwrap_or_default();
                level.mixed()?;
                let opened_by = match first {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                if level.opened_by != Some(opened_by) {
                    return Err(format!("{} closes nothing", char::from(first)));
                }
                1
            }
            b',' => {
                if let Some(level) = levels.last_mut() {
                    level.mixed()?;
                    (level.coalesces, level.other) = (false, None);
                }
                1
            }
            _ => {
                let operator = operator(rest)?;
                match (operator, levels.last_mut()) {
                    ("??", Some(level)) => level.coalesces = true,
                    _ => note(&mut levels, operator),
                }
                operator.len()
            }
        };
        rest = &rest[length..];
    }
    match levels.as_slice() {
        [level] => level.mixed(),
        _ => Err("a bracket is not closed".to_owned()),
    }
}

fn length_of(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| belongs(*byte)).count()
}

fn note(levels: &mut [Level], operator: &'static str) {
    if let Some(level) = levels.last_mut() {
        level.other.get_or_insert(operator);
    }
}

fn operator_of(word: &str) -> Option<&'static str> {
    ["and", "in", "not", "or"]
        .into_iter()
        .find(|operator| *operator == word)
}

fn known(word: &str, called: bool, names: &[&str]) -> Result<(), String> {
    if WORDS.contains(&word) || (called && FUNCTIONS.contains(&word)) {
        return Ok(());
    }
    if called {
        return Err(format!(
            "{word} is no function of numbers: there are {}",
            FUNCTIONS.join(", ")
        ));
    }
    let names = if names.is_empty() {
        "none has a name".to_owned()
    } else {
        format!("they are called {}", names.join(", "))
    };
    Err(format!("{word} is the name of no trigger: {names}"))
}

/// The operator that `text` begins with.
fn operator(text: &str) -> Result<&'static str, String> {
    const OPERATORS: [&str; 19] = [
        "??", "**", "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "^", "<", ">", "?", ":", "!",
    ];
    let found = OPERATORS.into_iter().find(|operator| text.starts_with(operator));
    found.ok_or_else(|| {
        let what: String = text.chars().take(1).collect();
        match what.as_str() {
            "\"" | "'" | "`" => "a text: formulas are of numbers".to_owned(),
            _ => format!("{what} is not taken: formulas are of numbers, triggers' names, operators and functions"),
        }
    })
}
