//! A page of metrics that a scenario serves, and changes as it goes.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// The page. It is served until the process ends.
#[derive(Clone, Debug, Default)]
pub struct Page(Arc<Mutex<String>>);

impl Page {
    /// Serves an empty page; returns its URL beside it.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn serve() -> Result<(Self, String)> {
        let (page, address) = Self::bind().await?;
        Ok((page, format!("http://{address}/metrics")))
    }

    /// Serves an empty page at any path of the address it returns.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn bind() -> Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let page = Self::default();
        tokio::spawn(page.clone().answer(listener));
        Ok((page, address))
    }

    /// What it says from now on.
    pub fn show(&self, page: &str) {
        page.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn answer(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let page = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let length = page.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    }
}
