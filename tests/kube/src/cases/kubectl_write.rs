//! What kubectl does and prints when it writes.

use super::props::{WIDGET_SCHEMA, bound_pod, config, deployment, deployment_manifest, pod};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  key: one\n";
const WIDGET: &str = "apiVersion: '{g}/v1'\nkind: Widget\nmetadata:\n  name: a\nspec:\n  model: mo\n";

stories! {
    "kubectl/apply-created-unchanged-configured" => |s| {
        s.kubectl_with("apply -f -", CONFIG).await?;
        s.kubectl_with("apply -f -", CONFIG).await?;
        s.kubectl_with("apply -f -", &CONFIG.replace("one", "two")).await?;
        s.kubectl("get cm a -o yaml").await?;
        s.kubectl_with("delete -f -", CONFIG).await?;
    }
    "kubectl/apply-deployment-merges-lists" => |s| {
        s.kubectl_with("apply -f -", &deployment_manifest("web", "app:1", 2)).await?;
        s.set("apps/v1 deployments/web", "{metadata: {annotations: {by: hand}}}").await?;
        s.kubectl_with("apply -f -", &deployment_manifest("web", "app:2", 3)).await?;
        s.kubectl("get deploy web -o yaml").await?;
        s.kubectl_with("apply -f -", &deployment_manifest("web", "app:2", 3).replace("        ports:\n        - containerPort: 8000\n", "")).await?;
        s.get("apps/v1 deployments/web").await?;
    }
    "kubectl/apply-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.until_explained().await?;
        s.kubectl_with("apply -f -", WIDGET).await?;
        s.kubectl_with("apply -f -", WIDGET).await?;
        s.kubectl_with("apply -f -", &WIDGET.replace("mo\n", "other\n")).await?;
        s.kubectl_with("apply -f -", &WIDGET.replace("mo\n", "'NOT GOOD'\n")).await?;
        s.kubectl("get widgets.{g} a -o yaml").await?;
    }
    "kubectl/apply-several-and-prune-nothing" => |s| {
        let many = format!("{CONFIG}---\n{}---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{ports: [{{port: 80}}]}}\n", deployment_manifest("web", "app:1", 1));
        s.kubectl_with("apply -f -", &many).await?;
        s.kubectl_with("apply -f -", &many).await?;
        s.kubectl_with("delete -f - --wait=true", &many).await?;
    }
    "kubectl/apply-dry-runs" => |s| {
        s.kubectl_with("apply -f - --dry-run=server", CONFIG).await?;
        s.kubectl_with("apply -f - --dry-run=client -o yaml", CONFIG).await?;
        s.get("configmaps/a").await?;
    }
    "kubectl/apply-what-does-not-fit" => |s| {
        s.kubectl_with("apply -f -", &CONFIG.replace("data:", "dota:")).await?;
        s.kubectl_with("apply -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n").await?;
        s.kubectl_with("apply -f -", "apiVersion: no.such/v1\nkind: Thing\nmetadata: {name: a}\n").await?;
        s.kubectl_with("apply -f -", &deployment_manifest("Bad_Name", "app:1", 1)).await?;
        s.kubectl_with("apply -f - --validate=ignore", &CONFIG.replace("data:", "dota:")).await?;
    }
    "kubectl/diff" => |s| {
        s.kubectl_with("diff -f -", CONFIG).await?;
        s.kubectl_with("apply -f -", CONFIG).await?;
        s.kubectl_with("diff -f -", CONFIG).await?;
        s.kubectl_with("diff -f -", &CONFIG.replace("one", "two")).await?;
    }
    "kubectl/create-typed-kinds" => |s| {
        s.kubectl("create configmap c --from-literal=k=v").await?;
        s.kubectl("create secret generic s --from-literal=k=v").await?;
        s.kubectl("create deployment d --image=app:1 --replicas=2 --port=8000").await?;
        s.kubectl("create service clusterip v --tcp=80:8000").await?;
        s.kubectl("create job j --image=app:1 -- run it").await?;
        s.kubectl("create cronjob cj --image=app:1 --schedule='*/5 * * * *'").await?;
        s.kubectl("create role r --verb=get,list --resource=pods").await?;
        s.kubectl("create rolebinding rb --role=r --serviceaccount={ns}:robot").await?;
        s.kubectl("create serviceaccount robot").await?;
        s.kubectl("create namespace {ns}-made").await?;
        s.kubectl("create poddisruptionbudget p --selector=app=d --min-available=1").await?;
        for path in ["configmaps/c", "secrets/s", "apps/v1 deployments/d", "services/v", "batch/v1 jobs/j", "batch/v1 cronjobs/cj", "rbac.authorization.k8s.io/v1 roles/r", "rbac.authorization.k8s.io/v1 rolebindings/rb", "serviceaccounts/robot", "policy/v1 poddisruptionbudgets/p"] {
            s.get(path).await?;
        }
    }
    "kubectl/create-again-and-from-files" => |s| {
        s.kubectl("create configmap c --from-literal=k=v").await?;
        s.kubectl("create configmap c --from-literal=k=v").await?;
        s.kubectl_with("create -f -", CONFIG).await?;
        s.kubectl_with("create -f -", CONFIG).await?;
        s.kubectl_with("create -f - -o yaml", &CONFIG.replace("name: a", "generateName: c-")).await?;
    }
    "kubectl/run-a-pod" => |s| {
        s.kubectl("run p --image=app:1 --port=8000 --labels=a=b --env=X=1").await?;
        s.get("pods/p").await?;
        s.kubectl("run q --image=app:1 --dry-run=server -o name").await?;
    }
    "kubectl/delete" => |s| {
        for name in ["a", "b", "c"] {
            s.have("configmaps", &config(name, "one")).await?;
        }
        s.kubectl("delete cm a").await?;
        s.kubectl("delete cm a").await?;
        s.kubectl("delete cm a --ignore-not-found").await?;
        s.kubectl("delete cm -l tier=one").await?;
        s.kubectl("delete cm --all").await?;
        s.have("configmaps", "{metadata: {name: held, finalizers: [x.example/y]}}").await?;
        s.kubectl("delete cm held --wait=false").await?;
        s.kubectl("delete cm held --timeout=1s").await?;
    }
    "kubectl/delete-pods" => |s| {
        s.have("pods", &pod("loose")).await?;
        s.have("pods", &bound_pod("bound")).await?;
        s.kubectl("delete pod loose").await?;
        s.kubectl("delete pod bound --wait=false").await?;
        s.kubectl("get pods").await?;
        s.kubectl("delete pod bound --grace-period=0 --force").await?;
        s.kubectl("get pods").await?;
    }
    "kubectl/patch-three-ways" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl(r#"patch deploy web -p '{"spec":{"replicas":3}}'"#).await?;
        s.kubectl(r#"patch deploy web -p '{"spec":{"replicas":3}}'"#).await?;
        s.kubectl(r#"patch deploy web --type=merge -p '{"metadata":{"labels":{"x":"w"}}}'"#).await?;
        s.kubectl(r#"patch deploy web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":4}]' -o jsonpath={.spec.replicas}"#).await?;
        s.kubectl(r#"patch deploy web --type=json -p '[{"op":"remove","path":"/none"}]'"#).await?;
        s.kubectl(r#"patch deploy web --subresource=status --type=merge -p '{"status":{"replicas":4}}'"#).await?;
        s.kubectl(r#"patch deploy none -p '{}'"#).await?;
    }
    "kubectl/edit" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.kubectl_env("edit cm a", &[("KUBE_EDITOR", "sed -i s/one/two/")]).await?;
        s.kubectl_env("edit cm a", &[("KUBE_EDITOR", "true")]).await?;
        s.get("configmaps/a").await?;
    }
    "kubectl/edit-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.kubectl_env("edit widgets.{g} a", &[("KUBE_EDITOR", "sed -i s/cheap/dear/")]).await?;
        s.get("{g}/v1 widgets/a").await?;
    }
    "kubectl/replace" => |s| {
        s.kubectl_with("replace -f -", CONFIG).await?;
        s.have("configmaps", "{metadata: {name: a}, data: {old: v}}").await?;
        s.kubectl_with("replace -f -", CONFIG).await?;
        s.kubectl_with("replace --force -f -", CONFIG).await?;
        s.get("configmaps/a").await?;
    }
    "kubectl/scale" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("scale deploy web --replicas=4").await?;
        s.kubectl("scale deploy web --replicas=5 --current-replicas=4").await?;
        s.kubectl("scale deploy web --replicas=6 --current-replicas=4").await?;
        s.kubectl("scale deploy none --replicas=6").await?;
        s.get("apps/v1 deployments/web").await?;
    }
    "kubectl/scale-custom-resource" => |s| {
        s.widgets(WIDGET_SCHEMA).await?;
        s.have("{g}/v1 widgets", "{metadata: {name: a}, spec: {model: mo}}").await?;
        s.kubectl("scale widgets.{g} a --replicas=4").await?;
        s.get("{g}/v1 widgets/a").await?;
    }
    "kubectl/label" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.kubectl("label cm a x=w").await?;
        s.kubectl("label cm a x=v").await?;
        s.kubectl("label cm a x=v --overwrite").await?;
        s.kubectl("label cm a x-").await?;
        s.kubectl("label cm a x-").await?;
        s.kubectl("label cm a 'x=bad value'").await?;
        s.kubectl("label cm --all seen=yes").await?;
        s.get("configmaps/a").await?;
    }
    "kubectl/annotate" => |s| {
        s.have("configmaps", &config("a", "one")).await?;
        s.kubectl("annotate cm a 'note=some text'").await?;
        s.kubectl("annotate cm a note=x").await?;
        s.kubectl("annotate cm a note=x --overwrite --resource-version=1").await?;
        s.kubectl("annotate cm a note-").await?;
        s.get("configmaps/a").await?;
    }
    "kubectl/set-image-and-env" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("set image deploy/web main=app:2").await?;
        s.kubectl("set env deploy/web A=b").await?;
        s.kubectl("set resources deploy/web --limits=cpu=1").await?;
        s.get("apps/v1 deployments/web").await?;
    }
    "kubectl/wait-for-condition" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("wait deploy/web --for=condition=Available --timeout=1s").await?;
        s.set("apps/v1 deployments/web/status", "{status: {conditions: [{type: Available, status: 'True'}]}}").await?;
        s.kubectl("wait deploy/web --for=condition=Available --timeout=20s").await?;
        s.kubectl("wait deploy/web --for=jsonpath={.spec.replicas}=2 --timeout=20s").await?;
        s.kubectl("wait deploy/none --for=condition=Available --timeout=1s").await?;
        s.kubectl("wait deploy/web --for=create --timeout=5s").await?;
    }
    "kubectl/wait-for-deletion" => |s| {
        s.have("configmaps", "{metadata: {name: a, finalizers: [x.example/y]}}").await?;
        s.delete("configmaps/a").await?;
        let waiting = s.kubectl_until_it_watches("wait cm/a --for=delete --timeout=60s").await?;
        s.set("configmaps/a", "{metadata: {finalizers: null}}").await?;
        waiting.end().await?;
        s.kubectl("wait cm/a --for=delete --timeout=5s").await?;
    }
    "kubectl/rollout-status-by-hand" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("rollout status deploy/web --timeout=1s").await?;
        s.set("apps/v1 deployments/web/status", "{status: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 1}}").await?;
        s.kubectl("rollout status deploy/web --timeout=1s").await?;
        s.set("apps/v1 deployments/web/status", "{status: {readyReplicas: 2, availableReplicas: 2}}").await?;
        s.kubectl("rollout status deploy/web --timeout=20s").await?;
    }
    "kubectl/rollout-restart-pause-resume" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("rollout restart deploy/web").await?;
        s.get("apps/v1 deployments/web").await?;
        s.kubectl("rollout pause deploy/web").await?;
        s.kubectl("rollout pause deploy/web").await?;
        s.kubectl("rollout resume deploy/web").await?;
        s.get("apps/v1 deployments/web").await?;
    }
    "kubectl/rollout-history-and-undo" => |s| {
        let web = s.have("apps/v1 deployments", &deployment("web")).await?;
        for (name, revision, image) in [("web-1", "1", "app:1"), ("web-2", "2", "app:2")] {
            s.have("apps/v1 replicasets", &format!("{{metadata: {{name: {name}, labels: {{app: web, pod-template-hash: h{revision}}}, annotations: {{deployment.kubernetes.io/revision: '{revision}', kubernetes.io/change-cause: why-{revision}}}, ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: {}, controller: true}}]}}, spec: {{replicas: 0, selector: {{matchLabels: {{app: web, pod-template-hash: h{revision}}}}}, template: {{metadata: {{labels: {{app: web, pod-template-hash: h{revision}}}}}, spec: {{containers: [{{name: main, image: '{image}'}}]}}}}}}}}", web.uid())).await?;
        }
        s.set("apps/v1 deployments/web", "{metadata: {annotations: {deployment.kubernetes.io/revision: '2'}}}").await?;
        s.kubectl("rollout history deploy/web").await?;
        s.kubectl("rollout history deploy/web --revision=1").await?;
        s.kubectl("rollout undo deploy/web").await?;
        s.kubectl("rollout undo deploy/web --to-revision=9").await?;
        s.get("apps/v1 deployments/web").await?;
    }
    "kubectl/cordon-uncordon" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n-{ns}'}}").await?;
        s.kubectl("cordon n-{ns}").await?;
        s.kubectl("cordon n-{ns}").await?;
        s.get("/api/v1/nodes/n-{ns}").await?;
        s.kubectl("uncordon n-{ns}").await?;
        s.kubectl("cordon none").await?;
        s.get("/api/v1/nodes/n-{ns}").await?;
    }
    "kubectl/taint" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n-{ns}'}}").await?;
        s.kubectl("taint nodes n-{ns} gpu=yes:NoSchedule").await?;
        s.kubectl("taint nodes n-{ns} gpu=yes:NoSchedule").await?;
        s.kubectl("taint nodes n-{ns} gpu=no:NoSchedule --overwrite").await?;
        s.get("/api/v1/nodes/n-{ns}").await?;
        s.kubectl("taint nodes n-{ns} gpu:NoSchedule-").await?;
        s.kubectl("taint nodes n-{ns} gpu=yes:Sideways").await?;
    }
    "kubectl/drain" => |s| {
        s.have("/api/v1/nodes", "{metadata: {name: 'n-{ns}'}}").await?;
        s.have("pods", "{metadata: {name: p}, spec: {nodeName: 'n-{ns}', terminationGracePeriodSeconds: 0, containers: [{name: c, image: i}]}}").await?;
        s.kubectl("drain n-{ns} --timeout=20s").await?;
        s.kubectl("drain n-{ns} --force --timeout=20s").await?;
        s.get("pods/p").await?;
    }
    "kubectl/expose-and-autoscale" => |s| {
        s.have("apps/v1 deployments", &deployment("web")).await?;
        s.kubectl("expose deployment web --port=80 --target-port=8000").await?;
        s.kubectl("autoscale deployment web --max=3 --cpu=50%").await?;
        s.get("services/web").await?;
        s.get("autoscaling/v2 horizontalpodautoscalers/web").await?;
    }
    "kubectl/define-and-use-a-kind" => |s| {
        let definition = s.fill("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: 'gadgets.{g}'}\nspec:\n  group: '{g}'\n  scope: Namespaced\n  names: {plural: gadgets, kind: Gadget}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}\n");
        s.kubectl_with("apply -f -", &definition).await?;
        s.kubectl("wait crd/gadgets.{g} --for=condition=Established --timeout=20s").await?;
        s.until("{g}/v1 gadgets", |reply| reply.status == 200).await?;
        s.until_explained().await?;
        s.kubectl_with("apply -f -", "apiVersion: '{g}/v1'\nkind: Gadget\nmetadata: {name: a}\nspec: {size: 3}\n").await?;
        s.kubectl_with("apply -f -", "apiVersion: '{g}/v1'\nkind: Gadget\nmetadata: {name: a}\nspec: {size: 4, color: red}\n").await?;
        s.kubectl_with("apply -f -", &definition).await?;
        s.kubectl("delete crd gadgets.{g}").await?;
        s.kubectl("get gadgets.{g}").await?;
    }
    "kubectl/apply-server-side" => |s| {
        s.kubectl_with("apply --server-side -f -", CONFIG).await?;
        s.kubectl_with("apply --server-side -f -", CONFIG).await?;
        s.get("configmaps/a").await?;
    }
    "apply/patch-of-the-server-side-kind" => |s| {
        s.ask("PATCH", "configmaps/a?fieldManager=me").header("content-type", "application/apply-patch+yaml").raw("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n").send().await?;
        s.ask("PATCH", "configmaps/a").header("content-type", "application/apply-patch+yaml").raw("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n").send().await?;
    }
}
