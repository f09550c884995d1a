//! Differential suite.
use std::time::Instant;
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let t = Instant::now();
    let plane = testkit::kube::ControlPlane::start(&testkit::kube::Options { scheduler: true, controller_manager: true }).await?;
    eprintln!("{:?} {}", t.elapsed(), plane.kubeconfig().display());
    let out = testkit::kubectl(&testkit::kube::Binaries::find()?.path("kubectl"), plane.kubeconfig(), "get ns,sa -A").run().await?;
    eprintln!("{out:?}");
    Ok(())
}
