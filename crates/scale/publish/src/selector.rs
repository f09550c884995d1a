//! Label selectors as they stand in a query: the grammar of Kubernetes
//! without its `<` and `>`, which no selector of an HPA can hold.

/// Longest selector read, bytes.
const LONGEST: usize = 4096;
/// Longest value of a label, and longest name in a key.
const WORD: usize = 63;
/// Longest prefix of a key.
const PREFIX: usize = 253;

/// Requirements that must all hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    holds: Holds,
}

#[derive(Debug, PartialEq, Eq)]
enum Holds {
    /// The label is there with one of these values.
    In(Vec<String>),
    /// It is absent or has none of these values.
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Whether it requires anything.
    pub(crate) const fn selects(&self) -> bool {
        !self.0.is_empty()
    }

    /// Reads `key=value`, `==`, `!=`, `key in (a,b)`, `key notin (a,b)`,
    /// `key` and `!key`, separated by commas. Nothing selects everything.
    ///
    /// # Errors
    /// When it is none of these: where, what is wrong, and what may stand there.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!(
                "labelSelector is {} bytes long; at most {LONGEST} are read",
                text.len()
            ));
        }
        let mut reader = Reader { text, at: 0 };
        let mut requirements = Vec::new();
        reader.skip();
        while !reader.rest().is_empty() {
            requirements.push(reader.requirement()?);
            reader.skip();
            if reader.rest().is_empty() {
                break;
            }
            reader.expect(',')?;
            reader.skip();
            if reader.rest().is_empty() {
                return Err(reader.wrong("a requirement must follow the comma"));
            }
        }
        Ok(Self(requirements))
    }

    /// Whether labels, looked up by name, satisfy it.
    pub(crate) fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0
            .iter()
            .all(|requirement| match (&requirement.holds, label(&requirement.key)) {
                (Holds::In(values), Some(value)) => values.iter().any(|wanted| wanted == value),
                (Holds::NotIn(values), Some(value)) => values.iter().all(|refused| refused != value),
                (Holds::In(_) | Holds::Exists, None) | (Holds::Absent, Some(_)) => false,
                (Holds::NotIn(_) | Holds::Absent, None) | (Holds::Exists, Some(_)) => true,
            })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        self.skip();
        if self.take(token.encode_utf8(&mut [0; 4])) {
            return Ok(());
        }
        Err(self.wrong(&format!("{token:?} is expected")))
    }

    fn wrong(&self, what: &str) -> String {
        format!("labelSelector {:?}, byte {}: {what}", self.text, self.at)
    }

    /// Letters, digits, and what may join them; empty if there are none.
    fn word(&mut self) -> &'a str {
        self.skip();
        let rest = self.rest();
        let joins = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/');
        let length = rest.find(|letter| !joins(letter)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        let (prefix, name) = match key.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key),
        };
        let good = prefix.is_none_or(|prefix| !prefix.is_empty() && prefix.len() <= PREFIX)
            && !name.is_empty()
            && label_word(name);
        if good {
            Ok(key.to_owned())
        } else {
            Err(self.wrong(&format!("{key:?} is no label key")))
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let value = self.word();
        if label_word(value) {
            Ok(value.to_owned())
        } else {
            Err(self.wrong(&format!("{value:?} is no label value")))
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        self.expect('(')?;
        let mut values = vec![self.value()?];
        loop {
            self.skip();
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.wrong("',' or ')' is expected"));
            }
            values.push(self.value()?);
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.take("!") {
            let key = self.key()?;
            return Ok(Requirement {
                key,
                holds: Holds::Absent,
            });
        }
        let key = self.key()?;
        self.skip();
        let holds = if self.take("!=") {
            Holds::NotIn(vec![self.value()?])
        } else if self.take("==") || self.take("=") {
            Holds::In(vec![self.value()?])
        } else if self.rest().is_empty() || self.rest().starts_with(',') {
            Holds::Exists
        } else {
            match self.word() {
                "in" => Holds::In(self.values()?),
                "notin" => Holds::NotIn(self.values()?),
                _ => return Err(self.wrong("one of =, ==, !=, in (..), notin (..) must follow the key, or a comma")),
            }
        };
        Ok(Requirement { key, holds })
    }
}

/// Empty, or at most 63 letters, digits and `-_.` that begin and end with a
/// letter or a digit.
fn label_word(text: &str) -> bool {
    let ends = |letter: Option<char>| letter.is_none_or(|letter| letter.is_ascii_alphanumeric());
    text.len() <= WORD
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(name: &str) -> Option<&'static str> {
        match name {
            "variant_name" => Some("llama-l4"),
            "accelerator_type" => Some("NVIDIA-L4"),
            "empty" => Some(""),
            _ => None,
        }
    }

    #[test]
    fn selectors_select_as_those_of_kubernetes_do() {
        for (text, selected) in [
            ("", true),
            ("  ", true),
            ("variant_name=llama-l4", true),
            ("variant_name==llama-l4", true),
            (" variant_name = llama-l4 ", true),
            ("variant_name=other", false),
            ("variant_name!=other", true),
            ("variant_name!=llama-l4", false),
            ("gone!=anything", true),
            ("gone=anything", false),
            ("variant_name in (llama-l4)", true),
            ("variant_name in (a, llama-l4,b)", true),
            ("variant_name in (a,b)", false),
            ("variant_name notin (a,b)", true),
            ("variant_name notin (a,llama-l4)", false),
            ("gone notin (a)", true),
            ("variant_name", true),
            ("gone", false),
            ("!gone", true),
            ("!variant_name", false),
            ("empty=", true),
            ("empty in ()", true),
            ("empty!=", false),
            ("variant_name=llama-l4,accelerator_type in (NVIDIA-L4),!gone", true),
            ("variant_name=llama-l4,accelerator_type=H100", false),
            ("variant_name,variant_name!=a", true),
            ("example.com/x!=1", true),
            ("in", false),
            ("in in (in)", false),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(selector.matches(labels), selected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_its_place() {
        for (text, said) in [
            ("=a", "no label key"),
            ("a=b,", "must follow the comma"),
            (",", "no label key"),
            ("a b", "must follow the key"),
            ("a in b", "'(' is expected"),
            ("a in (b", "',' or ')' is expected"),
            ("a in (b;c)", "',' or ')' is expected"),
            ("a=b c=d", "',' is expected"),
            ("a>1", "must follow the key"),
            ("a===b", "',' is expected"),
            ("a=-b", "no label value"),
            ("a/b/c=d", "no label key"),
            ("/a=d", "no label key"),
            ("-a", "no label key"),
            ("!", "no label key"),
            ("a=é", "',' is expected"),
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert!(
                error.contains(said) && error.contains("labelSelector"),
                "{text:?}: {error}"
            );
        }
        let long = format!("a={}", "b".repeat(64));
        assert!(Selector::parse(&long).unwrap_err().contains("no label value"));
        assert!(Selector::parse(&"a,".repeat(5000)).unwrap_err().contains("at most"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = Selector::parse(&text);
        }

        #[test]
        fn near_selectors_do_not_either(text in "[a-c!=(), innot/.é-]{0,40}") {
            let _ = Selector::parse(&text).map(|selector| selector.matches(labels));
        }

        #[test]
        fn a_requirement_and_its_opposite_never_agree(value in "[a-z]([a-z0-9-]{0,10}[a-z])?") {
            for (one, other) in [("=", "!="), (" in ", " notin ")] {
                let of = |operator: &str| {
                    let value = if operator.contains("in") { format!("({value})") } else { value.clone() };
                    Selector::parse(&format!("variant_name{operator}{value}")).unwrap().matches(labels)
                };
                prop_assert_ne!(of(one), of(other));
            }
        }
    }
}
