//! What cannot work is refused here, with the place in the user's own text.

use super::{Fleet, Model, Variant};
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;
use std::fmt;

/// A mistake in a fleet file, shown in place.
#[derive(Debug)]
pub(crate) struct FleetError {
    file: String,
    line: usize,
    column: usize,
    width: usize,
    source_line: String,
    message: String,
    help: String,
}

impl std::error::Error for FleetError {}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        if !self.source_line.is_empty() {
            let number = line.to_string();
            let carets = "^".repeat(self.width.max(1));
            let before: String = self
                .source_line
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                f,
                "\n  {number} | {}\n  {} | {before}{carets}",
                self.source_line,
                " ".repeat(number.len())
            )?;
        }
        if !self.help.is_empty() {
            write!(f, "\nhelp: {}", self.help)?;
        }
        Ok(())
    }
}

/// Points at places of one file.
struct Pointer<'a> {
    file: &'a str,
    text: &'a str,
}

impl Pointer<'_> {
    fn at(&self, place: Location, message: impl Into<String>, help: impl Into<String>) -> FleetError {
        let line = usize::try_from(place.line()).unwrap_or(1).max(1);
        let column = usize::try_from(place.column()).unwrap_or(1).max(1);
        let source_line = self.text.lines().nth(line - 1).unwrap_or_default().to_owned();
        let room = source_line.chars().count().saturating_sub(column - 1).max(1);
        let width = usize::try_from(place.span().len()).unwrap_or(1).clamp(1, room);
        FleetError {
            file: self.file.to_owned(),
            line,
            column,
            width,
            source_line,
            message: message.into(),
            help: help.into(),
        }
    }
}

/// A file that YAML or the schema refuses.
pub(super) fn unreadable(file: &str, text: &str, error: &serde_saphyr::Error) -> FleetError {
    let place = error.location().unwrap_or(Location::UNKNOWN);
    let rendered = error.without_snippet().to_string();
    // The reader repeats the place in words; the place stands in front already.
    let message = rendered.split(" at line ").next().unwrap_or(&rendered).trim();
    Pointer { file, text }.at(
        place,
        in_words(message),
        "`tidegate fleet default` prints a fleet file that works",
    )
}

/// The reader speaks of Rust's types; people who write fleet files need not know them.
fn in_words(message: &str) -> String {
    match message {
        "invalid u32" => format!("not a whole number from 0 to {}", u32::MAX),
        "invalid u16" => format!("not a whole number from 0 to {}", u16::MAX),
        "invalid floating point" => "not a number".to_owned(),
        "expected mapping start" => "keys with values are wanted here".to_owned(),
        "expected sequence start" => "a list is wanted here".to_owned(),
        "unexpected end of input" => "something is missing: the text ends here".to_owned(),
        _ if message.starts_with("cannot deserialize null into") => "a value is missing here".to_owned(),
        _ => message.to_owned(),
    }
}

/// Checks what the schema cannot say.
pub(super) fn check(file: &str, text: &str, fleet: &Fleet) -> Result<(), FleetError> {
    let point = Pointer { file, text };
    let mut largest: BTreeMap<&str, u32> = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    for node in &fleet.nodes {
        dns_label(&point, "nodes[].name", &node.name)?;
        unique(&point, "node", &node.name, &mut nodes)?;
        label_value(&point, "nodes[].gpus.type", &node.gpus.r#type)?;
        let most = largest.entry(&node.gpus.r#type.value).or_default();
        *most = (*most).max(node.gpus.count.value);
    }
    if fleet.models.is_empty() {
        return Err(point.at(
            Location::UNKNOWN,
            "models is empty",
            "name at least one model with one variant",
        ));
    }
    let (mut models, mut variants, mut served) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for model in &fleet.models {
        dns_label(&point, "models[].name", &model.name)?;
        unique(&point, "model", &model.name, &mut models)?;
        check_served(&point, model, &mut served)?;
        if model.variants.is_empty() {
            let message = format!("model {} has no variants", model.name.value);
            return Err(point.at(
                model.name.referenced,
                message,
                "a model needs at least one way to be served",
            ));
        }
        for variant in &model.variants {
            dns_label(&point, "variants[].name", &variant.name)?;
            unique(&point, "variant", &variant.name, &mut variants)?;
            check_gpus(&point, variant, &largest)?;
            check_variant(&point, model, variant)?;
        }
    }
    Ok(())
}

fn check_served<'a>(
    point: &Pointer<'_>,
    model: &'a Model,
    served: &mut BTreeMap<&'a str, Location>,
) -> Result<(), FleetError> {
    for name in &model.serves {
        if name.value.is_empty() || name.value.contains(',') {
            let message = format!("models[].serves: `{}` is not a model name", name.value);
            return Err(point.at(name.referenced, message, "a model name is not empty and has no comma"));
        }
    }
    for name in model.served_names() {
        let place = model
            .serves
            .iter()
            .find(|s| s.value == name)
            .map_or(model.name.referenced, |s| s.referenced);
        if let Some(first) = served.insert(name, place) {
            let message = format!("the model name {name} is served twice (first in line {})", first.line());
            return Err(point.at(place, message, "a request names one model, so one pool serves it"));
        }
    }
    Ok(())
}

fn check_gpus(point: &Pointer<'_>, variant: &Variant, largest: &BTreeMap<&str, u32>) -> Result<(), FleetError> {
    label_value(point, "variants[].gpu", &variant.gpu)?;
    let Some(&most) = largest.get(variant.gpu.value.as_str()) else {
        let have: Vec<_> = largest.keys().copied().collect();
        let message = format!("gpu is {} but no node has GPUs of that type", variant.gpu.value);
        let help = format!(
            "the nodes have: {}",
            if have.is_empty() {
                "none".to_owned()
            } else {
                have.join(", ")
            }
        );
        return Err(point.at(variant.gpu.referenced, message, help));
    };
    let wanted = variant.gpus();
    let place = variant
        .gpus
        .as_ref()
        .map_or(variant.gpu.referenced, |gpus| gpus.referenced);
    if wanted == 0 {
        return Err(point.at(place, "gpus is 0", "a replica needs at least one GPU"));
    }
    if wanted > most {
        let message = format!(
            "gpus is {wanted} but no {} node has more than {most}",
            variant.gpu.value
        );
        return Err(point.at(place, message, "a replica runs on one node"));
    }
    Ok(())
}

fn check_variant(point: &Pointer<'_>, model: &Model, variant: &Variant) -> Result<(), FleetError> {
    let replicas = &variant.replicas;
    if replicas.max() < replicas.min() {
        let place = replicas
            .max
            .as_ref()
            .or(replicas.min.as_ref())
            .map_or(Location::UNKNOWN, |v| v.referenced);
        let message = format!(
            "replicas.max is {} but replicas.min is {}",
            replicas.max(),
            replicas.min()
        );
        return Err(point.at(place, message, "min must not be above max"));
    }
    if replicas.max() == 0 {
        let place = replicas.max.as_ref().map_or(Location::UNKNOWN, |v| v.referenced);
        return Err(point.at(
            place,
            "replicas.max is 0",
            "a variant that may never run is left out of the file",
        ));
    }
    if replicas.max() > 10_000 {
        let place = replicas.max.as_ref().map_or(Location::UNKNOWN, |v| v.referenced);
        return Err(point.at(place, format!("replicas.max is {}", replicas.max()), "at most 10000"));
    }
    if !variant.cost.value.is_finite() || variant.cost.value < 0.0 {
        let message = format!("cost is {}", variant.cost.value);
        return Err(point.at(
            variant.cost.referenced,
            message,
            "cost is what one replica costs per hour, 0 or more",
        ));
    }
    if let Some(slots) = variant.slots.as_ref().filter(|slots| slots.value == 0) {
        return Err(point.at(
            slots.referenced,
            "slots is 0",
            "a replica that takes no request serves nobody",
        ));
    }
    if let Some(health) = variant.health.as_ref().filter(|health| !health.value.starts_with('/')) {
        let message = format!("health is `{}`", health.value);
        return Err(point.at(health.referenced, message, "a path such as /health"));
    }
    check_command(point, model, variant)
}

fn check_command(point: &Pointer<'_>, model: &Model, variant: &Variant) -> Result<(), FleetError> {
    let command = &variant.command.value;
    let Some(program) = command.first() else {
        return Err(point.at(
            variant.command.referenced,
            "command is empty",
            "[tidegate, sim, ...] or [vllm, serve, ...]",
        ));
    };
    let names_address = command
        .iter()
        .any(|word| word.contains("$(HOST)") || word.contains("$(POD_IP)"));
    let listens_by_itself = program == "tidegate" || super::render::takes_host_flag(program);
    // Replicas of a model share its port and differ in their address.
    if !listens_by_itself && !names_address && !variant.env.values().any(|value| value.contains("$(HOST)")) {
        let message = format!(
            "the command does not say which address to listen on, and every replica of {} has port {}",
            model.name.value,
            model.port()
        );
        let help = "each replica has an address of its own: add --host \"$(HOST)\" --port \"$(PORT)\" (or what the server calls them)";
        return Err(point.at(variant.command.referenced, message, help));
    }
    Ok(())
}

fn unique<'a>(
    point: &Pointer<'_>,
    what: &str,
    name: &'a Spanned<String>,
    seen: &mut BTreeMap<&'a str, Location>,
) -> Result<(), FleetError> {
    match seen.insert(&name.value, name.referenced) {
        None => Ok(()),
        Some(first) => {
            let message = format!("two {what}s are called {}", name.value);
            Err(point.at(
                name.referenced,
                message,
                format!("the first one is in line {}", first.line()),
            ))
        }
    }
}

fn dns_label(point: &Pointer<'_>, field: &str, name: &Spanned<String>) -> Result<(), FleetError> {
    let text = &name.value;
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = text.len() <= 52
        && ends(text.chars().next())
        && ends(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return Ok(());
    }
    let message = format!("{field}: `{text}` cannot name a Kubernetes object");
    Err(point.at(
        name.referenced,
        message,
        "at most 52 of a-z, 0-9 and -, with a letter or digit at both ends",
    ))
}

fn label_value(point: &Pointer<'_>, field: &str, value: &Spanned<String>) -> Result<(), FleetError> {
    let text = &value.value;
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= 63
        && ends(text.chars().next())
        && ends(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits {
        return Ok(());
    }
    let message = format!("{field}: `{text}` cannot be a label value");
    Err(point.at(
        value.referenced,
        message,
        "at most 63 of letters, digits, - _ . with a letter or digit at both ends",
    ))
}
