//! Below the objects: paths, methods, media types, sizes.

use super::props::config;

stories! {
    "protocol/unknown-paths" => |s| {
        s.get("/nowhere").await?;
        s.get("/api/v2").await?;
        s.get("/apis/no.such/v1/things").await?;
        s.get("/api/v1/things").await?;
        s.get("things/a").await?;
        s.get("apps/v1 things").await?;
        s.create("things", "{apiVersion: v1, kind: Thing, metadata: {name: a}}").await?;
        s.get("/api/v1/namespaces/{ns}/nodes").await?;
    }
    "protocol/methods-that-are-not-allowed" => |s| {
        s.ask("POST", "/api/v1").raw("{}").send().await?;
        s.ask("DELETE", "/version").send().await?;
        s.create("/api/v1/configmaps", &config("a", "one")).await?;
        s.ask("DELETE", "/api/v1/configmaps").send().await?;
    }
    "protocol/not-acceptable" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.ask("GET", "configmaps/a").accept("text/html").send().await?;
        s.ask("GET", "configmaps/a").accept("application/xml,text/html").send().await?;
        s.ask("GET", "configmaps/a").accept("application/xml,*/*;q=0.1").send().await?;
        s.ask("GET", "configmaps/a").accept("application/*").send().await?;
    }
    "protocol/yaml-is-spoken" => |s| {
        s.ask("POST", "configmaps").header("content-type", "application/yaml").raw("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n").send().await?;
        s.get("configmaps/a").await?;
    }
    "protocol/unsupported-media-type" => |s| {
        s.ask("POST", "configmaps").header("content-type", "text/plain").raw("{}").send().await?;
        s.ask("POST", "configmaps").header("content-type", "application/x-www-form-urlencoded").raw("a=b").send().await?;
        s.ask("POST", "configmaps").header("content-type", "application/json; charset=utf-8").raw(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}"#).send().await?;
    }
    "protocol/bodies-that-are-not-json" => |s| {
        for body in ["", "{", "[]", "null", "\"text\"", "{\"kind\":5}", "{\"metadata\":{}} trailing"] {
            s.ask("POST", "configmaps").header("content-type", "application/json").raw(body).send().await?;
        }
    }
    "protocol/object-of-another-kind" => |s| {
        s.create("configmaps", "{apiVersion: v1, kind: Secret, metadata: {name: a}}").await?;
        s.create("configmaps", "{apiVersion: v2, kind: ConfigMap, metadata: {name: a}}").await?;
        s.create("apps/v1 deployments", "{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: a}}").await?;
        s.create("configmaps", "{apiVersion: no.such/v1, kind: Thing, metadata: {name: a}}").await?;
    }
    "protocol/body-too-large" => |s| {
        let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"k":"{}"}}}}"#, "x".repeat(4 << 20));
        s.ask("POST", "configmaps").header("content-type", "application/json").raw(body).send().await?;
        let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"k":"{}"}}}}"#, "x".repeat(2 << 20));
        s.ask("POST", "configmaps").header("content-type", "application/json").raw(body).send().await?;
    }
    "protocol/health" => |s| {
        s.get("/healthz").await?;
        s.get("/livez").await?;
        s.get("/readyz").await?;
    }
    "protocol/head-of-nothing-and-trailing-slashes" => |s| {
        s.ask("GET", "/api/v1/").headers(&["content-type"]).await?;
        s.get("configmaps/").await?;
        s.get("/api/v1/namespaces/{ns}/").await?;
    }
    "protocol/queries-that-nobody-knows" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.get("configmaps/a?pretty=false&color=red").await?;
        s.get("configmaps?watch=perhaps").await?;
    }
    "protocol/field-manager" => |s| {
        s.create(&format!("configmaps?fieldManager={}", "x".repeat(129)), &config("a", "one")).await?;
        s.create("configmaps?fieldManager=a%01b", &config("a", "one")).await?;
        s.create("configmaps?fieldManager=me", &config("a", "one")).await?;
        s.merge("configmaps/a?force=true", "{data: {k: v}}").await?;
    }
    "protocol/self-review" => |s| {
        s.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").header("content-type", "application/json").raw(s.fill(r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"namespace":"{ns}","verb":"get","resource":"pods"}}}"#)).send().await?;
    }
}
