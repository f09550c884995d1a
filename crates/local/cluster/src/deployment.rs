//! Being written.
pub(crate) async fn run(_shared: crate::run::Shared, _recorder: crate::recorder::Recorder) {
    std::future::pending::<()>().await
}
