//! Reads a formula by the precedences of Expr, and no more of the language than
//! numbers need: what else there is, is refused by name.

use super::expr::{Binary, Each, Expr, Function, Value};

/// Longest formula, bytes.
const LONGEST: usize = 2_000;
/// Operands within operands.
const DEEPEST: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'t> {
    Number(&'t str),
    Word(&'t str),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer signs stand before those that they begin with.
const SIGNS: [&str; 27] = [
    "??", "**", "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "^", "<", ">", "?", ":", "!", "(", ")",
    "[", "]", "{", "}", ",", "#",
];

/// Binary operators, and how closely each binds.
const BINARY: [(&str, Binary, u8); 18] = [
    ("||", Binary::Or, 10),
    ("or", Binary::Or, 10),
    ("&&", Binary::And, 15),
    ("and", Binary::And, 15),
    ("==", Binary::Equal, COMPARES),
    ("!=", Binary::Unequal, COMPARES),
    ("<", Binary::Less, COMPARES),
    ("<=", Binary::AtMost, COMPARES),
    (">", Binary::More, COMPARES),
    (">=", Binary::AtLeast, COMPARES),
    ("in", Binary::In, COMPARES),
    ("+", Binary::Plus, 30),
    ("-", Binary::Minus, 30),
    ("*", Binary::Times, 60),
    ("/", Binary::Over, 60),
    ("%", Binary::Remainder, 60),
    ("**", Binary::Power, POWER),
    ("^", Binary::Power, POWER),
];
const COMPARES: u8 = 20;
const NOT: u8 = 50;
const SIGNED: u8 = 90;
const POWER: u8 = 100;

/// Reads `text` over triggers of these names.
pub(super) fn read(text: &str, names: &[&str]) -> Result<Expr, String> {
    if text.trim().is_empty() {
        return Err("is empty: say how the triggers make one number".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("has {} bytes: at most {LONGEST} are taken", text.len()));
    }
    let mut reader = Reader {
        rest: text,
        next: Token::End,
        names,
        depth: 0,
        within_each: 0,
    };
    reader.advance()?;
    let expr = reader.whole()?;
    match reader.next {
        Token::End => Ok(expr),
        _ => Err(format!("{} stands where nothing can", reader.shown())),
    }
}

struct Reader<'t, 'n> {
    rest: &'t str,
    next: Token<'t>,
    names: &'n [&'n str],
    depth: u32,
    /// Functions of lists around, for whose items `#` stands.
    within_each: u32,
}

impl<'t> Reader<'t, '_> {
    /// Goes on to the next token; returns the one before.
    fn advance(&mut self) -> Result<Token<'t>, String> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let length_of = |belongs: fn(u8) -> bool| self.rest.bytes().take_while(|byte| belongs(*byte)).count();
        let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let in_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        let (next, length) = match self.rest.bytes().next() {
            None => (Token::End, 0),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                let length = length_of(in_word);
                (Token::Word(&self.rest[..length]), length)
            }
            Some(b'0'..=b'9' | b'.') => {
                let length = length_of(in_number);
                (Token::Number(&self.rest[..length]), length)
            }
            Some(_) => {
                let sign = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign));
                let sign = sign.ok_or_else(|| strange(self.rest))?;
                (Token::Sign(sign), sign.len())
            }
        };
        self.rest = &self.rest[length..];
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn takes(&mut self, sign: &str) -> Result<bool, String> {
        let found = self.next == Token::Sign(SIGNS.into_iter().find(|is| *is == sign).unwrap_or_default());
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn needs(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign)? {
            return Ok(());
        }
        Err(format!("{} stands where {sign} is missing", self.shown()))
    }

    /// What comes next, for people.
    fn shown(&self) -> String {
        match self.next {
            Token::Number(text) | Token::Word(text) => text.to_owned(),
            Token::Sign(sign) => sign.to_owned(),
            Token::End => "the end".to_owned(),
        }
    }

    /// All up to a comma, a bracket or the end.
    fn whole(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("has operands more than {DEEPEST} deep"));
        }
        let mut first = self.operands(0)?;
        if self.next == Token::Sign("??") {
            // Expr reads what stands beside `??` in ways of its own, and mostly
            // refuses it.
            if !first.1 {
                return Err(self.mixed());
            }
            while self.takes("??")? {
                let next = self.operand()?;
                first.0 = Expr::Else(Box::new([first.0, next]));
            }
            if self.operator().is_some() || self.next == Token::Sign("?") {
                return Err(self.mixed());
            }
        }
        let whole = if self.takes("?")? {
            let yes = self.whole()?;
            self.needs(":")?;
            let no = self.whole()?;
            Expr::If(Box::new([first.0, yes, no]))
        } else {
            first.0
        };
        self.depth -= 1;
        Ok(whole)
    }

    fn mixed(&self) -> String {
        "?? stands beside another operator: put what it joins into parentheses, as in (a ?? 0) + b".to_owned()
    }

    fn operator(&self) -> Option<(Binary, u8)> {
        let (Token::Word(text) | Token::Sign(text)) = self.next else {
            return None;
        };
        let found = BINARY.iter().find(|(is, ..)| *is == text);
        found.map(|(_, binary, binds)| (*binary, *binds))
    }

    /// Operands joined by operators that bind at least so closely, and whether
    /// it is one alone.
    fn operands(&mut self, least: u8) -> Result<(Expr, bool), String> {
        let mut alone = !matches!(self.next, Token::Sign("-" | "+" | "!") | Token::Word("not"));
        let mut left = self.signed()?;
        while let Some((binary, binds)) = self.operator().filter(|(_, binds)| *binds >= least) {
            self.advance()?;
            // A power binds what is right of it first; all else what is left.
            let right = self.operands(if binds == POWER { POWER } else { binds + 1 })?;
            if self.next == Token::Sign("??") {
                return Err(self.mixed());
            }
            if binds == COMPARES && self.operator().is_some_and(|(_, next)| next == COMPARES) {
                return Err("two comparisons in a row: join them by &&, or put one into parentheses".to_owned());
            }
            left = Expr::Binary(binary, Box::new([left, right.0]));
            alone = false;
        }
        Ok((left, alone))
    }

    fn signed(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("has operands more than {DEEPEST} deep"));
        }
        let expr = match self.next {
            Token::Sign("-") => {
                self.advance()?;
                Expr::Negative(Box::new(self.operands(SIGNED)?.0))
            }
            Token::Sign("+") => {
                self.advance()?;
                Expr::Positive(Box::new(self.operands(SIGNED)?.0))
            }
            Token::Sign("!") | Token::Word("not") => {
                self.advance()?;
                Expr::Not(Box::new(self.operands(NOT)?.0))
            }
            _ => self.operand()?,
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// One operand, with the places that are asked of it.
    fn operand(&mut self) -> Result<Expr, String> {
        let mut operand = match self.next {
            Token::Number(text) => {
                self.advance()?;
                Expr::Literal(number(text)?)
            }
            Token::Word(word) => {
                self.advance()?;
                self.named(word)?
            }
            Token::Sign("#") if self.within_each > 0 => {
                self.advance()?;
                Expr::Item
            }
            Token::Sign("#") => return Err("# stands for an item, and there is no list around it".to_owned()),
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.whole()?;
                self.needs(")")?;
                inner
            }
            Token::Sign("[") => {
                self.advance()?;
                Expr::List(self.list("]")?)
            }
            _ => return Err(format!("{} stands where a number is missing", self.shown())),
        };
        while self.takes("[")? {
            let place = self.whole()?;
            self.needs("]")?;
            operand = Expr::At(Box::new([operand, place]));
        }
        Ok(operand)
    }

    /// What is between brackets, up to the closing one.
    fn list(&mut self, closing: &str) -> Result<Vec<Expr>, String> {
        let mut items = Vec::new();
        while !self.takes(closing)? {
            items.push(self.whole()?);
            if !self.takes(",")? {
                self.needs(closing)?;
                break;
            }
        }
        Ok(items)
    }

    fn named(&mut self, word: &str) -> Result<Expr, String> {
        if let Some(place) = self.names.iter().position(|name| *name == word) {
            return Ok(Expr::Trigger(place));
        }
        match word {
            "true" | "false" => return Ok(Expr::Literal(Value::Bool(word == "true"))),
            "nil" => return Ok(Expr::Literal(Value::Nil)),
            _ => {}
        }
        if !self.takes("(")? {
            let names = match self.names {
                [] => "none has a name".to_owned(),
                names => format!("they are called {}", names.join(", ")),
            };
            return Err(format!("{word} is the name of no trigger: {names}"));
        }
        if let Some((_, function)) = Function::ALL.iter().find(|(name, _)| *name == word) {
            return Ok(Expr::Call(*function, self.list(")")?));
        }
        let Some((_, each)) = Each::ALL.iter().find(|(name, _)| *name == word) else {
            let functions = Function::ALL.iter().map(|(name, _)| *name);
            let mut known: Vec<&str> = functions.chain(Each::ALL.iter().map(|(name, _)| *name)).collect();
            known.sort_unstable();
            return Err(format!(
                "{word} is no function of numbers: there are {}",
                known.join(", ")
            ));
        };
        let list = self.whole()?;
        self.needs(",")?;
        self.within_each += 1;
        let braced = self.takes("{")?;
        let question = self.whole()?;
        if braced {
            self.needs("}")?;
        }
        self.within_each -= 1;
        self.needs(")")?;
        Ok(Expr::Each(*each, Box::new([list, question])))
    }
}

fn number(text: &str) -> Result<Value, String> {
    let value = match text.contains('.') {
        true if text != "." => text.parse().ok().map(Value::Float),
        true => None,
        false => text.parse().ok().map(Value::Int),
    };
    value.ok_or_else(|| format!("{text} is no number: ranges and fields are not taken"))
}

fn strange(rest: &str) -> String {
    let sign: String = rest.chars().take(1).collect();
    match sign.as_str() {
        "\"" | "'" | "`" => "a text: formulas are of numbers".to_owned(),
        _ => format!("{sign} is not taken: formulas are of numbers, triggers' names, operators and functions"),
    }
}
