//! A streamed answer: what has been said since the last look, as events.
//!
//! Everything but the words is the same in each event of an answer, so it is
//! written once, and an event is three copies into a buffer that is reused.
//! A slow client loses nothing and holds nothing: words are made when they are
//! sent, however many tokens the engine is ahead.

use crate::answer::{Cut, Heading, Plan, Usage};
use crate::driver::Answers;
use crate::params::Api;
use crate::prose::Prose;
use crate::routes::InFlight;
use bytes::{BufMut, Bytes, BytesMut};
use engine::FinishReason;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Room for a few events; grows if many are sent at once.
const BUFFER: usize = 4096;

struct Choice {
    prose: Prose,
    cut: Option<Cut>,
    /// Everything before the words.
    before: Vec<u8>,
    /// The event that tells the role, not yet sent.
    role: Option<Vec<u8>>,
    sent: u32,
    /// Bytes of text made so far, counted only if a stop string cuts it.
    made: usize,
    ended: bool,
}

/// The body of a streamed answer.
pub(crate) struct Stream {
    answers: Answers,
    choices: Vec<Choice>,
    api: Api,
    heading: Heading,
    include_usage: bool,
    continuous_usage: bool,
    buffer: BytesMut,
    done: bool,
    _in_flight: InFlight,
}

impl Stream {
    pub(crate) fn new(
        api: Api,
        heading: Heading,
        answers: Answers,
        plans: Vec<Plan>,
        include_usage: bool,
        continuous_usage: bool,
        in_flight: InFlight,
    ) -> Self {
        let start = heading.start(api);
        let choices = plans.into_iter().enumerate().map(|(index, plan)| {
            let (before, role) = match api {
                Api::Chat => (
                    format!("data: {start}\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\""),
                    Some(format!(
                        "data: {start}\"choices\":[{{\"index\":{index},\"delta\":{{\"role\":\"assistant\",\"content\":\
                         \"\"}},\"logprobs\":null,\"finish_reason\":null}}],\"prompt_token_ids\":null,\
                         \"prompt_text\":null}}\n\n"
                    )),
                ),
                Api::Completions => (
                    format!("data: {start}\"choices\":[{{\"index\":{index},\"text\":\""),
                    None,
                ),
            };
            Choice {
                prose: plan.prose,
                cut: plan.cut,
                before: before.into_bytes(),
                role: role.map(String::into_bytes),
                sent: 0,
                made: 0,
                ended: false,
            }
        });
        Self {
            choices: choices.collect(),
            answers,
            api,
            heading,
            include_usage,
            continuous_usage,
            buffer: BytesMut::with_capacity(BUFFER),
            done: false,
            _in_flight: in_flight,
        }
    }

    /// Writes what is new into the buffer.
    fn write_new(&mut self) {
        for i in 0..self.choices.len() {
            if self.choices[i].ended {
                continue;
            }
            let (tokens, reason) = self.answers.progress[i].read();
            if (tokens > 0 || reason.is_some())
                && let Some(role) = self.choices[i].role.take()
            {
                self.buffer.extend_from_slice(&role);
            }
            while self.choices[i].sent < tokens {
                self.choices[i].sent += 1;
                let last = self.choices[i].sent == tokens;
                self.write_event(i, true, if last { reason } else { None });
            }
            if reason.is_some() && !self.choices[i].ended {
                // Ended without a further token, by an abort.
                self.write_event(i, false, reason);
            }
        }
        if self.choices.iter().all(|choice| choice.ended) {
            self.write_end();
        }
    }

    fn write_event(&mut self, index: usize, token: bool, reason: Option<FinishReason>) {
        let choice = &mut self.choices[index];
        let out = &mut self.buffer;
        out.reserve(choice.before.len() + 256);
        out.put_slice(&choice.before);
        if token {
            let start = out.len();
            choice.prose.push_token(out);
            if let Some(cut) = &choice.cut {
                let made = out.len() - start;
                out.truncate(start + made.min(cut.bytes.saturating_sub(choice.made)));
                choice.made += made;
            }
        }
        let after: &[u8] = match (self.api, reason) {
            (Api::Chat, None) => b"\"},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}]",
            (Api::Completions, None) => {
                b"\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null,\"prompt_token_ids\":null,\
                  \"token_ids\":null}]"
            }
            (api, Some(reason)) => {
                choice.ended = true;
                let stop = choice
                    .cut
                    .as_ref()
                    .filter(|cut| reason == FinishReason::Stop && cut.tokens == choice.sent);
                let stop = stop.map_or_else(|| "null".to_owned(), |cut| json(&cut.stop));
                let (close, prompt) = match api {
                    Api::Chat => ("\"}", ""),
                    Api::Completions => ("\"", "\"prompt_token_ids\":null,"),
                };
                let after = format!(
                    "{close},\"logprobs\":null,\"finish_reason\":\"{}\",\"stop_reason\":{stop},{prompt}\"token_ids\":null}}]",
                    reason.as_str()
                );
                out.put_slice(after.as_bytes());
                b""
            }
        };
        out.put_slice(after);
        if self.continuous_usage {
            let usage = Usage::new(self.heading.prompt_tokens, u64::from(choice.sent));
            let usage = serde_json::to_string(&usage).unwrap_or_default();
            out.put_slice(b",\"usage\":");
            out.put_slice(usage.as_bytes());
        }
        if reason.is_some()
            && !self.include_usage
            && let Some(fingerprint) = &self.heading.fingerprint
        {
            out.put_slice(format!(",\"system_fingerprint\":{}", json(fingerprint)).as_bytes());
        }
        out.put_slice(b"}\n\n");
    }

    fn write_end(&mut self) {
        self.done = true;
        if self.include_usage {
            let tokens = self.choices.iter().map(|choice| u64::from(choice.sent)).sum();
            let usage = Usage::new(self.heading.prompt_tokens, tokens);
            let usage = serde_json::to_string(&usage).unwrap_or_default();
            let start = self.heading.start(self.api);
            let fingerprint = self.heading.fingerprint.as_ref();
            let fingerprint =
                fingerprint.map_or_else(String::new, |text| format!(",\"system_fingerprint\":{}", json(text)));
            let event = format!("data: {start}\"choices\":[],\"usage\":{usage}{fingerprint}}}\n\n");
            self.buffer.extend_from_slice(event.as_bytes());
        }
        self.buffer.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Heading {
    /// The beginning of every event's object.
    fn start(&self, api: Api) -> String {
        let object = match api {
            Api::Chat => "chat.completion.chunk",
            Api::Completions => "text_completion",
        };
        let (id, model) = (json(&self.id), json(&self.model));
        format!(
            "{{\"id\":{id},\"object\":\"{object}\",\"created\":{},\"model\":{model},",
            self.created
        )
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        // Register before looking, so that nothing told in between is missed.
        for (choice, progress) in this.choices.iter().zip(&this.answers.progress) {
            if !choice.ended {
                progress.register(cx.waker());
            }
        }
        this.write_new();
        if this.buffer.is_empty() {
            return Poll::Pending;
        }
        let frame = this.buffer.split().freeze();
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}
