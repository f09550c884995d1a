//! What a request asks for, read from its JSON.
//!
//! Unknown fields are ignored, as vLLM ignores them; a known field of the
//! wrong type or out of its range is refused with its name.

use crate::settings::Settings;
use crate::tokens::{Prompt, PromptBuilder};
use serde_json::{Map, Value};
use wire::openai::ErrorBody;

/// Answers to one prompt at most.
const MAX_N: u32 = 128;
/// Prompts of one request at most.
const MAX_PROMPTS: usize = 256;
/// Stop strings of one request at most.
const MAX_STOPS: usize = 64;
/// Tokens a completion without `max_tokens` may have, as vLLM sets it.
const COMPLETION_MAX_TOKENS: u32 = 16;

/// A request that is not served, as its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self {
            status,
            message: message.into(),
            param,
        }
    }

    fn bad(param: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, message, Some(param))
    }

    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody::new(self.status, self.message.as_str(), self.param)
    }
}

/// Which of the two generating endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
}

/// A request for answers.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    /// The name to answer with.
    pub(crate) model: String,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) n: u32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) min_tokens: u32,
    pub(crate) ignore_eos: bool,
    pub(crate) stop: Vec<String>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    /// Set when the same request must get the same answer again.
    pub(crate) fixed_seed: Option<u64>,
}

/// The fields of a JSON object, asked for by name and type. `null` is absent.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn boolean(&self, name: &'static str) -> Result<Option<bool>, Refusal> {
        self.get(name)
            .map(|value| value.as_bool().ok_or_else(|| wrong_type(name, "true or false", value)))
            .transpose()
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        self.get(name)
            .map(|value| value.as_str().ok_or_else(|| wrong_type(name, "a string", value)))
            .transpose()
    }

    fn integer(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        self.get(name)
            .map(|value| whole(value).ok_or_else(|| wrong_type(name, "an integer", value)))
            .transpose()
    }

    fn count(&self, name: &'static str, least: u32, most: u32) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.integer(name)? else {
            return Ok(None);
        };
        if value < i64::from(least) {
            return Err(Refusal::bad(
                name,
                format!("{name} must be at least {least}, got {value}."),
            ));
        }
        if value > i64::from(most) {
            return Err(Refusal::bad(
                name,
                format!("{name} must be at most {most}, got {value}."),
            ));
        }
        Ok(u32::try_from(value).ok())
    }

    fn number(&self, name: &'static str, least: f64, most: f64) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong_type(name, "a number", value))?;
        if (least..=most).contains(&number) {
            return Ok(Some(number));
        }
        Err(Refusal::bad(
            name,
            format!("{name} must be in [{least}, {most}], got {number}."),
        ))
    }
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
    })
}

fn wrong_type(name: &'static str, wanted: &str, value: &Value) -> Refusal {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Refusal::bad(name, format!("{name} must be {wanted}, got {got}."))
}

/// The JSON object in `body`.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::new(400, "the body must be a JSON object", None)),
        Err(error) => Err(Refusal::new(400, format!("the body is not JSON: {error}"), None)),
    }
}

impl Generation {
    pub(crate) fn read(api: Api, object: &Map<String, Value>, settings: &Settings) -> Result<Self, Refusal> {
        let fields = Fields(object);
        let model = model(&fields, settings)?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let (include_usage, continuous_usage) = stream_options(&fields, stream)?;
        let most = settings.engine.max_model_len;
        let mut max_tokens = None;
        if api == Api::Chat {
            max_tokens = fields.count("max_completion_tokens", 1, u32::MAX)?;
        }
        if max_tokens.is_none() {
            max_tokens = fields.count("max_tokens", 1, u32::MAX)?;
        }
        let min_tokens = fields.count("min_tokens", 0, u32::MAX)?.unwrap_or(0);
        if api == Api::Completions && !object.contains_key("max_tokens") {
            max_tokens = Some(COMPLETION_MAX_TOKENS);
        }
        if let Some(max_tokens) = max_tokens.filter(|&max_tokens| min_tokens > max_tokens) {
            let message =
                format!("min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.");
            return Err(Refusal::bad("min_tokens", message));
        }
        let temperature = fields.number("temperature", 0.0, 2.0)?;
        check_sampling(&fields)?;
        if fields.boolean("echo")?.unwrap_or(false) {
            return Err(Refusal::bad("echo", "echo is not supported; leave it out."));
        }
        let n = fields.count("n", 1, MAX_N)?.unwrap_or(1);
        let seed = fields.integer("seed")?;
        // Greedy sampling says the same each time, and so does a fixed seed.
        let fixed_seed = seed.map(i64::cast_unsigned).or((temperature == Some(0.0)).then_some(0));
        let prompts = match api {
            Api::Chat => vec![chat_prompt(&fields, settings)?.0],
            Api::Completions => completion_prompts(&fields, settings)?,
        };
        for prompt in &prompts {
            check_length(prompt.tokens, max_tokens, most)?;
        }
        Ok(Self {
            model,
            prompts,
            n,
            max_tokens,
            min_tokens,
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            stop: stop(&fields)?,
            stream,
            include_usage,
            continuous_usage,
            fixed_seed,
        })
    }
}

/// What `/tokenize` answers: the ids of a prompt or of messages.
pub(crate) fn tokenize(object: &Map<String, Value>, settings: &Settings) -> Result<Vec<u32>, Refusal> {
    let fields = Fields(object);
    model(&fields, settings)?;
    if fields.get("messages").is_some() {
        if fields.get("prompt").is_some() {
            return Err(Refusal::bad("prompt", "give either prompt or messages, not both"));
        }
        return Ok(chat_prompt(&fields, settings)?.1);
    }
    let text = fields
        .text("prompt")?
        .ok_or_else(|| Refusal::bad("prompt", "prompt or messages is required"))?;
    let mut builder = builder(settings, true);
    builder.text(text);
    Ok(builder.finish().1.unwrap_or_default())
}

fn model(fields: &Fields<'_>, settings: &Settings) -> Result<String, Refusal> {
    match fields.text("model")? {
        None | Some("") => Ok(settings.names[0].clone()),
        Some(name) if settings.names.iter().any(|known| known == name) => Ok(name.to_owned()),
        Some(name) => Err(Refusal::new(
            404,
            format!("The model `{name}` does not exist."),
            Some("model"),
        )),
    }
}

fn stream_options(fields: &Fields<'_>, stream: bool) -> Result<(bool, bool), Refusal> {
    let Some(options) = fields.get("stream_options") else {
        return Ok((false, false));
    };
    let options = options
        .as_object()
        .ok_or_else(|| wrong_type("stream_options", "an object", options))?;
    if !stream {
        return Err(Refusal::bad(
            "stream_options",
            "Stream options can only be defined when `stream=True`.",
        ));
    }
    let options = Fields(options);
    let include = options.boolean("include_usage")?.unwrap_or(false);
    Ok((
        include,
        include && options.boolean("continuous_usage_stats")?.unwrap_or(false),
    ))
}

fn check_sampling(fields: &Fields<'_>) -> Result<(), Refusal> {
    fields.number("top_p", f64::MIN_POSITIVE, 1.0)?;
    fields.number("min_p", 0.0, 1.0)?;
    fields.number("presence_penalty", -2.0, 2.0)?;
    fields.number("frequency_penalty", -2.0, 2.0)?;
    fields.number("repetition_penalty", f64::MIN_POSITIVE, f64::MAX)?;
    fields.integer("top_k")?;
    Ok(())
}

fn check_length(prompt: u32, max_tokens: Option<u32>, most: u32) -> Result<(), Refusal> {
    let limit = format!("This model's maximum context length is {most} tokens.");
    if prompt == 0 {
        return Err(Refusal::bad("prompt", "The prompt is empty; send at least one token."));
    }
    if prompt >= most {
        let message = format!(
            "{limit} However, your prompt contains {prompt} input tokens, which leaves no room for output. Please \
             reduce the length of the input prompt."
        );
        return Err(Refusal::bad("input_tokens", message));
    }
    match max_tokens.filter(|&max_tokens| max_tokens > most - prompt) {
        None => Ok(()),
        Some(max_tokens) => {
            let message = format!(
                "{limit} However, you requested {max_tokens} output tokens and your prompt contains {prompt} input \
                 tokens. Please reduce the length of the input prompt or the number of requested output tokens."
            );
            Err(Refusal::bad("input_tokens", message))
        }
    }
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    let Some(value) = fields.get("stop") else {
        return Ok(Vec::new());
    };
    let wrong = || wrong_type("stop", "a string or an array of strings", value);
    let stops: Vec<String> = match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    if stops.len() > MAX_STOPS {
        return Err(Refusal::bad(
            "stop",
            format!("stop has {} strings; send at most {MAX_STOPS}.", stops.len()),
        ));
    }
    if stops.iter().any(String::is_empty) {
        return Err(Refusal::bad("stop", "stop cannot contain an empty string."));
    }
    Ok(stops)
}

fn builder(settings: &Settings, ids: bool) -> PromptBuilder {
    let mut builder = PromptBuilder::new(settings.engine.block_size, settings.vocab);
    builder.ids = ids.then(Vec::new);
    builder
}

/// The messages through a chat template: each message between two marks with
/// its role, then the mark and role of the answer.
fn chat_prompt(fields: &Fields<'_>, settings: &Settings) -> Result<(Prompt, Vec<u32>), Refusal> {
    let messages = fields
        .get("messages")
        .ok_or_else(|| Refusal::bad("messages", "messages is required"))?;
    let list = messages
        .as_array()
        .ok_or_else(|| wrong_type("messages", "an array", messages))?;
    if list.is_empty() {
        return Err(Refusal::bad(
            "messages",
            "messages is empty; send at least one message.",
        ));
    }
    let (start, end) = (settings.vocab.saturating_sub(1), settings.vocab.saturating_sub(2));
    let mut builder = builder(settings, true);
    for message in list {
        let object = message
            .as_object()
            .ok_or_else(|| wrong_type("messages", "an array of objects", message))?;
        let message = Fields(object);
        let role = message.text("role").ok().flatten();
        let role = role.ok_or_else(|| Refusal::bad("messages", "every message needs a role, a string."))?;
        builder.token(start);
        builder.text(role);
        builder.token(end);
        match message.get("content") {
            None => {}
            Some(Value::String(text)) => builder.text(text),
            Some(Value::Array(parts)) => content_parts(&mut builder, parts)?,
            Some(other) => {
                return Err(wrong_type(
                    "messages",
                    "messages with a string or an array as content",
                    other,
                ));
            }
        }
        builder.token(end);
    }
    builder.token(start);
    builder.text("assistant");
    builder.token(end);
    let (prompt, ids) = builder.finish();
    Ok((prompt, ids.unwrap_or_default()))
}

fn content_parts(builder: &mut PromptBuilder, parts: &[Value]) -> Result<(), Refusal> {
    for part in parts {
        match part {
            Value::String(text) => builder.text(text),
            Value::Object(object) => match object.get("text").and_then(Value::as_str) {
                Some(text) => builder.text(text),
                None => {
                    let kind = object.get("type").and_then(Value::as_str).unwrap_or("unknown");
                    let message = format!("content of type {kind:?} is not supported; this model reads text only.");
                    return Err(Refusal::bad("messages", message));
                }
            },
            other => {
                return Err(wrong_type(
                    "messages",
                    "messages whose content parts are objects",
                    other,
                ));
            }
        }
    }
    Ok(())
}

/// `prompt`: a text, tokens, or a list of either.
fn completion_prompts(fields: &Fields<'_>, settings: &Settings) -> Result<Vec<Prompt>, Refusal> {
    let value = fields
        .get("prompt")
        .ok_or_else(|| Refusal::bad("prompt", "prompt is required"))?;
    let wrong = || {
        wrong_type(
            "prompt",
            "a string, an array of token ids, or an array of either",
            value,
        )
    };
    let from_text = |text: &str| {
        let mut builder = builder(settings, false);
        builder.text(text);
        builder.finish().0
    };
    let from_ids = |ids: &[Value]| {
        let mut builder = builder(settings, false);
        for id in ids {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong)?;
            if id >= settings.vocab {
                return Err(Refusal::bad("prompt", format!("Token id {id} is out of vocabulary")));
            }
            builder.token(id);
        }
        Ok(builder.finish().0)
    };
    match value {
        Value::String(text) => Ok(vec![from_text(text)]),
        Value::Array(list) if list.is_empty() => {
            Err(Refusal::bad("prompt", "prompt is empty; send at least one token."))
        }
        Value::Array(list) if list[0].is_number() => Ok(vec![from_ids(list)?]),
        Value::Array(list) if list.len() > MAX_PROMPTS => Err(Refusal::bad(
            "prompt",
            format!("prompt has {} entries; send at most {MAX_PROMPTS}.", list.len()),
        )),
        Value::Array(list) => list
            .iter()
            .map(|entry| match entry {
                Value::String(text) => Ok(from_text(text)),
                Value::Array(ids) => from_ids(ids),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::plan;
    use proptest::prelude::*;

    const KNOWN: &[&str] = &[
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "n",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "ignore_eos",
        "echo",
        "role",
        "content",
        "text",
        "include_usage",
    ];

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..40).prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z .]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((prop::sample::select(KNOWN), inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_a_request_or_a_refusal_that_says_why(
            fields in prop::collection::vec((prop::sample::select(KNOWN), json()), 0..6),
            chat in any::<bool>(),
        ) {
            let args = crate::Args::from_flags(["--max-model-len", "500"]).unwrap();
            let settings = Settings::new(&args).unwrap();
            let mut object: Map<String, Value> = fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            object.remove("model");
            let _ = tokenize(&object, &settings);
            let api = if chat { Api::Chat } else { Api::Completions };
            match Generation::read(api, &object, &settings) {
                Ok(mut request) => {
                    let (wanted, plans) = plan(&mut request, &settings, 1);
                    prop_assert_eq!(wanted.iter().map(Vec::len).sum::<usize>(), plans.len());
                    for answer in wanted.iter().flatten() {
                        prop_assert!(answer.natural_tokens > 0 && answer.max_output_tokens > 0);
                        prop_assert!(answer.prompt_tokens + answer.max_output_tokens <= 500);
                    }
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal.status, 400);
                    prop_assert!(!refusal.message.is_empty());
                    prop_assert!(refusal.param.is_some());
                }
            }
        }
    }
}
