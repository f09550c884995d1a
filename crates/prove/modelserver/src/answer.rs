//! From a request to its answers: how long each is, what it says, and the JSON
//! of a whole answer.

use crate::driver::{Answers, Progress, Wanted};
use crate::params::{Api, Generation};
use crate::prose::{Prose, mix, natural_tokens};
use crate::settings::Settings;
use engine::FinishReason;
use serde::Serialize;
use serde_json::Value;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// One answer before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) prose: Prose,
    /// The stop string that ends it, if one does.
    pub(crate) cut: Option<Cut>,
}

/// An answer ended by a stop string, which is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes of text that are sent.
    pub(crate) bytes: usize,
    /// The token that completes the stop string.
    pub(crate) tokens: u32,
    /// The stop string.
    pub(crate) stop: String,
}

/// Plans all answers to `request`, by prompt. `arrival` differs between
/// requests and makes their answers differ, unless the request fixes its seed.
pub(crate) fn plan(request: &mut Generation, settings: &Settings, arrival: u64) -> (Vec<Vec<Wanted>>, Vec<Plan>) {
    let mut plans = Vec::new();
    let salt = match request.fixed_seed {
        Some(seed) => mix(seed, 1),
        None => mix(arrival, 2),
    };
    let mut wanted = Vec::new();
    for prompt in &mut request.prompts {
        let mut answers = Vec::new();
        let prefix = std::mem::take(&mut prompt.prefix);
        for choice in 0..request.n {
            let seed = mix(mix(settings.seed, prompt.hash), salt ^ u64::from(choice));
            let room = settings.engine.max_model_len - prompt.tokens;
            let limit = request.max_tokens.unwrap_or(room).min(room);
            let mut natural = if request.ignore_eos {
                u32::MAX
            } else {
                natural_tokens(seed, settings.output_mean, settings.output_stdev).max(request.min_tokens)
            };
            let prose = Prose::new(seed);
            let cut = find_stop(prose.clone(), &request.stop, request.min_tokens, natural.min(limit));
            if let Some(cut) = &cut {
                natural = cut.tokens;
            }
            answers.push(Wanted {
                prompt_tokens: prompt.tokens,
                prefix: prefix.clone(),
                natural_tokens: natural,
                max_output_tokens: limit,
                asked_max_tokens: request.max_tokens,
            });
            plans.push(Plan { prose, cut });
        }
        wanted.push(answers);
    }
    (wanted, plans)
}

/// The first of `stops` in the words of `prose`, after `min_tokens` and within
/// `limit` tokens.
fn find_stop(mut prose: Prose, stops: &[String], min_tokens: u32, limit: u32) -> Option<Cut> {
    let longest = stops.iter().map(String::len).max()?;
    let mut text: Vec<u8> = Vec::new();
    for token in 1..=limit {
        let before = text.len();
        prose.push_token(&mut text);
        if token < min_tokens {
            continue;
        }
        // What was looked through before cannot hold a whole stop string.
        let from = before.saturating_sub(longest - 1);
        let found = stops.iter().filter_map(|stop| {
            let at = text[from..]
                .windows(stop.len())
                .position(|window| window == stop.as_bytes())?;
            Some((from + at, stop))
        });
        if let Some((bytes, stop)) = found.min_by_key(|(at, _)| *at) {
            return Some(Cut {
                bytes,
                tokens: token,
                stop: stop.clone(),
            });
        }
    }
    None
}

/// Waits until every answer ended; tokens and reason of each.
pub(crate) async fn ended(progress: &[Arc<Progress>]) -> Vec<(u32, FinishReason)> {
    poll_fn(|cx| {
        progress.iter().for_each(|one| one.register(cx.waker()));
        let ended: Option<Vec<_>> = progress
            .iter()
            .map(|one| {
                let (tokens, reason) = one.read();
                Some((tokens, reason?))
            })
            .collect();
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Token counts of a request.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) total_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Usage {
    pub(crate) const fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            completion_tokens,
        }
    }
}

/// What all parts of one answer repeat.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: Option<String>,
    pub(crate) prompt_tokens: u64,
}

#[derive(Serialize)]
struct WholeUsage {
    #[serde(flatten)]
    usage: Usage,
    prompt_tokens_details: Option<Value>,
    completion_tokens_details: Option<Value>,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<Value>,
    annotations: Option<Value>,
    audio: Option<Value>,
    function_call: Option<Value>,
    reasoning: Option<Value>,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    logprobs: Option<Value>,
    finish_reason: &'static str,
    stop_reason: Option<String>,
    token_ids: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<Option<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Option<Value>>,
    routed_experts: Option<Value>,
}

#[derive(Serialize)]
struct Whole<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice>,
    service_tier: Option<Value>,
    system_fingerprint: Option<&'a str>,
    usage: WholeUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<Option<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Option<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_text: Option<Option<Value>>,
    kv_transfer_params: Option<Value>,
    ec_transfer_params: Option<Value>,
    metrics: Option<Value>,
}

/// The JSON of all answers together, once they ended.
pub(crate) async fn whole(api: Api, heading: &Heading, answers: Answers, plans: Vec<Plan>) -> Vec<u8> {
    let ends = ended(&answers.progress).await;
    let completion_tokens = ends.iter().map(|(tokens, _)| u64::from(*tokens)).sum();
    let choices = plans
        .into_iter()
        .zip(ends)
        .enumerate()
        .map(|(index, (mut plan, (tokens, reason)))| {
            let mut text = Vec::with_capacity(tokens as usize * 6);
            (0..tokens).for_each(|_| plan.prose.push_token(&mut text));
            let cut = plan.cut.filter(|cut| cut.tokens == tokens);
            if let Some(cut) = &cut {
                text.truncate(cut.bytes);
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let chat = api == Api::Chat;
            Choice {
                index,
                message: chat.then(|| Message {
                    role: "assistant",
                    content: text.clone(),
                    refusal: None,
                    annotations: None,
                    audio: None,
                    function_call: None,
                    reasoning: None,
                }),
                text: (!chat).then_some(text),
                logprobs: None,
                finish_reason: reason.as_str(),
                stop_reason: cut.map(|cut| cut.stop),
                token_ids: None,
                prompt_logprobs: (!chat).then_some(None),
                prompt_token_ids: (!chat).then_some(None),
                routed_experts: None,
            }
        });
    let whole = Whole {
        id: &heading.id,
        object: if api == Api::Chat {
            "chat.completion"
        } else {
            "text_completion"
        },
        created: heading.created,
        model: &heading.model,
        choices: choices.collect(),
        service_tier: None,
        system_fingerprint: heading.fingerprint.as_deref(),
        usage: WholeUsage {
            usage: Usage::new(heading.prompt_tokens, completion_tokens),
            prompt_tokens_details: None,
            completion_tokens_details: None,
        },
        prompt_logprobs: (api == Api::Chat).then_some(None),
        prompt_token_ids: (api == Api::Chat).then_some(None),
        prompt_text: (api == Api::Chat).then_some(None),
        kv_transfer_params: None,
        ec_transfer_params: None,
        metrics: None,
    };
    serde_json::to_vec(&whole).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seed: u64, tokens: u32) -> String {
        let mut out = Vec::new();
        let mut prose = Prose::new(seed);
        (0..tokens).for_each(|_| prose.push_token(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_stop_string_is_found_where_it_first_ends() {
        let all = text(1, 100);
        let stop = all[20..27].to_owned();
        let cut = find_stop(Prose::new(1), &[stop.clone(), "never said".to_owned()], 0, 100).unwrap();
        assert_eq!(cut.bytes, all.find(&stop).unwrap());
        let with_stop = text(1, cut.tokens);
        assert!(with_stop.contains(&stop) && !text(1, cut.tokens - 1).contains(&stop));
        assert_eq!(
            find_stop(Prose::new(1), std::slice::from_ref(&stop), 0, cut.tokens - 1),
            None
        );
        let later = find_stop(Prose::new(1), &[".".to_owned()], 50, 100).unwrap();
        assert!(later.tokens >= 50);
    }

    #[test]
    fn nothing_to_stop_at_is_not_looked_for() {
        assert_eq!(find_stop(Prose::new(1), &[], 0, u32::MAX), None);
    }
}
