//! A story: steps told to one server, and what was seen at each.

use crate::transport::{self, Answer, Lines};
use anyhow::{Context as _, Result, bail};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::kube::Access;
use tokio::sync::Semaphore;

mod kinds;
mod terminal;
mod watch;

pub use terminal::Typing;
pub use watch::Watching;

/// How long a condition may take to come true.
const COMES_TRUE_WITHIN: Duration = Duration::from_secs(20);

/// What happened in one step.
#[derive(Debug, Clone)]
pub struct Step {
    /// What was done.
    pub title: String,
    /// What was seen.
    pub seen: Value,
}

/// One server that stories are told to.
#[derive(Clone)]
pub struct Stage {
    /// How to reach it.
    pub access: Access,
    /// A client for it.
    pub client: kube::Client,
    /// The kubectl program.
    pub kubectl: PathBuf,
    /// How many kubectl commands may run at once.
    pub terminals: Arc<Semaphore>,
}

/// The teller of one case to one server, in a namespace of its own.
#[derive(Clone)]
pub struct Story {
    stage: Stage,
    namespace: String,
    steps: Arc<Mutex<Vec<Step>>>,
}

/// An answer as a story uses it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body, or `null` when it is not JSON.
    pub body: Value,
}

impl Reply {
    /// `metadata.resourceVersion` of what was answered.
    #[must_use]
    pub fn version(&self) -> String {
        self.text("/metadata/resourceVersion")
    }

    /// `metadata.uid` of what was answered.
    #[must_use]
    pub fn uid(&self) -> String {
        self.text("/metadata/uid")
    }

    /// The string at a JSON pointer, empty when there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

/// A request about to be sent.
pub struct Ask<'a> {
    story: &'a Story,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// `Accept` that asks for a Table, as kubectl does.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
/// `Accept` that asks for metadata alone.
pub const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// `Accept` that asks for the metadata of a list.
pub const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Story {
    /// Makes the namespace and an empty record.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub async fn begin(stage: &Stage, namespace: &str) -> Result<Self> {
        let story = Self {
            stage: stage.clone(),
            namespace: namespace.to_owned(),
            steps: Arc::default(),
        };
        story.have("/api/v1/namespaces", "{metadata: {name: '{ns}'}}").await?;
        Ok(story)
    }

    /// What was seen so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.lock().clone()
    }

    /// The namespace of this story.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Adds something seen to the record.
    pub fn note(&self, title: impl Into<String>, seen: Value) {
        self.lock().push(Step {
            title: title.into(),
            seen,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts a request of any shape.
    #[must_use]
    pub fn ask(&self, method: &'static str, path: &str) -> Ask<'_> {
        Ask {
            story: self,
            method,
            path: self.resolve(path),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// GET.
    ///
    /// # Errors
    /// As for every step: when no answer comes.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.ask("GET", path).send().await
    }

    /// GET as a Table.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn table(&self, path: &str) -> Result<Reply> {
        self.ask("GET", path).accept(TABLE).send().await
    }

    /// POST of an object written as YAML; `apiVersion` and `kind` follow from
    /// the path when absent.
    ///
    /// # Errors
    /// When the text is not YAML or no answer comes.
    pub async fn create(&self, path: &str, object: &str) -> Result<Reply> {
        self.ask("POST", path).object(object)?.send().await
    }

    /// PUT, as [`Self::create`].
    ///
    /// # Errors
    /// When the text is not YAML or no answer comes.
    pub async fn replace(&self, path: &str, object: &str) -> Result<Reply> {
        self.ask("PUT", path).object(object)?.send().await
    }

    /// PUT of a value that an answer gave.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn put(&self, path: &str, object: &Value) -> Result<Reply> {
        self.ask("PUT", path).json(object).send().await
    }

    /// JSON merge patch.
    ///
    /// # Errors
    /// When the text is not YAML or no answer comes.
    pub async fn merge(&self, path: &str, patch: &str) -> Result<Reply> {
        self.patch(path, "application/merge-patch+json", patch).await
    }

    /// JSON patch.
    ///
    /// # Errors
    /// When the text is not YAML or no answer comes.
    pub async fn json_patch(&self, path: &str, patch: &str) -> Result<Reply> {
        self.patch(path, "application/json-patch+json", patch).await
    }

    /// Strategic merge patch.
    ///
    /// # Errors
    /// When the text is not YAML or no answer comes.
    pub async fn strategic(&self, path: &str, patch: &str) -> Result<Reply> {
        self.patch(path, "application/strategic-merge-patch+json", patch).await
    }

    async fn patch(&self, path: &str, kind: &str, patch: &str) -> Result<Reply> {
        let patch = self.yaml(patch)?;
        self.ask("PATCH", path)
            .header("content-type", kind)
            .raw(patch.to_string())
            .send()
            .await
    }

    /// DELETE without a body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.ask("DELETE", path).send().await
    }

    /// DELETE with options written as YAML.
    ///
    /// # Errors
    /// When the text is not YAML or no answer comes.
    pub async fn delete_with(&self, path: &str, options: &str) -> Result<Reply> {
        self.ask("DELETE", path).json(&self.yaml(options)?).send().await
    }

    /// Makes an object that the story presupposes: not recorded, must succeed.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn have(&self, path: &str, object: &str) -> Result<Reply> {
        self.ask("POST", path).object(object)?.must().await
    }

    /// Changes something that the story presupposes, by merge patch: not
    /// recorded, must succeed.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn set(&self, path: &str, patch: &str) -> Result<Reply> {
        let patch = self.yaml(patch)?;
        let kind = "application/merge-patch+json";
        self.ask("PATCH", path)
            .header("content-type", kind)
            .raw(patch.to_string())
            .must()
            .await
    }

    /// Reads something without recording it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn look(&self, path: &str) -> Result<Reply> {
        self.ask("GET", path).must().await
    }

    /// Reads until `enough` holds, without recording.
    ///
    /// # Errors
    /// When it does not within 20 s.
    pub async fn until(&self, path: &str, enough: impl Fn(&Reply) -> bool + Send) -> Result<Reply> {
        self.until_so(path, &[], enough).await
    }

    async fn until_so(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        enough: impl Fn(&Reply) -> bool + Send,
    ) -> Result<Reply> {
        // Not `testkit::wait_until`: a story is told on any thread, and the
        // future of an async closure is not known to be `Send`.
        let began = Instant::now();
        loop {
            let mut ask = self.ask("GET", path);
            for (name, value) in headers {
                ask = ask.header(name, value);
            }
            let reply = ask.silent().await?;
            if enough(&reply) {
                return Ok(reply);
            }
            if began.elapsed() > COMES_TRUE_WITHIN {
                bail!("{path} last was {}", reply.body);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until kubectl can find the resources of this story's own group: it
    /// reads all groups at once, which know of a new one a little later.
    ///
    /// # Errors
    /// When it cannot within 20 s.
    pub async fn until_found(&self) -> Result<()> {
        let group = self.fill("{g}");
        let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        self.until_so("/apis", &[("accept", kind)], |reply| {
            let mut groups = reply.body["items"].as_array().into_iter().flatten();
            let found = groups.find(|item| item["metadata"]["name"] == group.as_str());
            found.is_some_and(|item| !item["versions"][0]["resources"][0].is_null())
        })
        .await
        .map(drop)
    }

    /// Waits until the schemas of this story's own group are served and listed:
    /// the list, which kubectl reads first, is put together apart from the
    /// documents that it names and can come after them.
    ///
    /// # Errors
    /// When they are not within 20 s.
    pub async fn until_explained(&self) -> Result<()> {
        let group = self.fill("apis/{g}/v1");
        self.until("/openapi/v3", |reply| reply.body["paths"].get(&group).is_some())
            .await?;
        self.until("/openapi/v3/apis/{g}/v1", |reply| reply.status == 200)
            .await
            .map(drop)
    }

    /// Replaces `{ns}` and `{g}` (an API group of this story alone).
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        text.replace("{ns}", &self.namespace)
            .replace("{g}", &format!("{}.example.org", self.namespace))
    }

    fn yaml(&self, text: &str) -> Result<Value> {
        let text = self.fill(text);
        // `y` and `no` are words in stories, as they are in Kubernetes' YAML 1.2 reader.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(&text, options).with_context(|| format!("a story's YAML: {text}"))
    }

    /// The URL path of a short form: `configmaps/a` is in the story's
    /// namespace, `apps/v1 deployments/web` too; what starts with `/` is
    /// taken as it is.
    fn resolve(&self, path: &str) -> String {
        let path = self.fill(path);
        if path.starts_with('/') {
            return path;
        }
        let (prefix, rest) = match path.split_once(' ') {
            Some((group, rest)) => (format!("/apis/{group}"), rest),
            None => ("/api/v1".to_owned(), path.as_str()),
        };
        format!("{prefix}/namespaces/{}/{rest}", self.namespace)
    }
}

impl Ask<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sets `Accept`.
    #[must_use]
    pub fn accept(self, value: &str) -> Self {
        self.header("accept", value)
    }

    /// The body as it is.
    #[must_use]
    pub fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").raw(body.to_string())
    }

    /// An object written as YAML, its type completed from the path.
    ///
    /// # Errors
    /// When the text is not YAML.
    pub fn object(self, text: &str) -> Result<Self> {
        let mut object = self.story.yaml(text)?;
        if object.get("kind").is_none()
            && let Some((version, kind)) = kinds::of_path(&self.path)
        {
            object["apiVersion"] = version.into();
            object["kind"] = kind.into();
        }
        Ok(self.json(&object))
    }

    /// Sends, and records what was seen.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(self) -> Result<Reply> {
        let title = format!("{} {}", self.method, self.path);
        let story = self.story.clone();
        let answer = self.exchange().await?;
        let (body, reply) = read(&answer);
        let headers = Answer::compared_headers(&answer.headers);
        story.note(
            title,
            json!({ "status": answer.status, "headers": headers, "body": body }),
        );
        Ok(reply)
    }

    /// Sends, recording the status alone with some headers: for bodies that
    /// hold more than the contract.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn headers(self, names: &[&str]) -> Result<Reply> {
        let title = format!("{} {}", self.method, self.path);
        let story = self.story.clone();
        let answer = self.exchange().await?;
        let headers: serde_json::Map<String, Value> = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), answer.headers.get(*name)?.to_str().ok()?.into())))
            .collect();
        story.note(title, json!({ "status": answer.status, "headers": headers }));
        Ok(read(&answer).1)
    }

    /// Sends without recording; an answer other than 2xx is an error.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn quiet(self) -> Result<Reply> {
        self.must().await
    }

    /// Sends without recording, for the `ETag` of the answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn etag(self) -> Result<String> {
        let answer = self.exchange().await?;
        Ok(answer
            .headers
            .get("etag")
            .and_then(|tag| tag.to_str().ok())
            .unwrap_or_default()
            .to_owned())
    }

    /// Sends without recording.
    async fn silent(self) -> Result<Reply> {
        Ok(read(&self.exchange().await?).1)
    }

    /// Sends without recording; an answer other than 2xx is an error.
    async fn must(self) -> Result<Reply> {
        let title = format!("{} {}", self.method, self.path);
        let answer = self.exchange().await?;
        if !(200..300).contains(&answer.status) {
            bail!("the story presupposes {title}: {} {}", answer.status, answer.text);
        }
        Ok(read(&answer).1)
    }

    /// Opens a stream of lines.
    async fn open(self) -> Result<Lines> {
        let client = self.story.stage.client.clone();
        transport::stream(&client, self.request()?).await
    }

    async fn exchange(self) -> Result<Answer> {
        let client = self.story.stage.client.clone();
        transport::exchange(&client, self.request()?).await
    }

    fn request(self) -> Result<Request<Body>> {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
            .body(Body::from(self.body))
            .with_context(|| format!("{} {}", self.method, self.path))
    }
}

/// The body for the record (text when it is not JSON) and the reply.
fn read(answer: &Answer) -> (Value, Reply) {
    match serde_json::from_str::<Value>(&answer.text) {
        Ok(body) => (
            body.clone(),
            Reply {
                status: answer.status,
                body,
            },
        ),
        Err(_) => (
            answer.text.clone().into(),
            Reply {
                status: answer.status,
                body: Value::Null,
            },
        ),
    }
}
