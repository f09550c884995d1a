//! Hands connections on, byte by byte: what is said over them, certificates
//! included, is between the two ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Most connections at once; an API server and an operator of KEDA hold a few.
const MOST: usize = 64;
/// How long the other end may take to be reached.
const CONNECT: Duration = Duration::from_secs(3);
/// Pause after a connection could not be taken.
const AGAIN: Duration = Duration::from_millis(100);

/// An address whose connections go on to another.
#[derive(Debug)]
pub(super) struct Relay {
    listener: TcpListener,
    to: SocketAddr,
}

impl Relay {
    /// Listens for what is to go on to `to`.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub(super) async fn listen(address: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, to })
    }

    /// Hands on until `stop`, which ends every connection.
    pub(super) async fn run(self, stop: CancellationToken) {
        let free = Arc::new(Semaphore::new(MOST));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&free).try_acquire_owned()) {
                (Ok((mut from, _)), Ok(place)) => {
                    let to = self.to;
                    connections.spawn(async move {
                        if let Err(error) = hand_on(&mut from, to).await {
                            tracing::debug!(%to, %error, "a connection was not handed on to its end");
                        }
                        drop(place);
                    });
                }
                // What is beyond the bound is closed at once.
                (Ok(_), Err(_)) => {}
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        connections.shutdown().await;
    }
}

async fn hand_on(from: &mut TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut there = tokio::time::timeout(CONNECT, TcpStream::connect(to)).await??;
    copy_bidirectional(from, &mut there).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// An end that says its name to whoever connects and echoes one word.
    async fn end(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut word = [0; 5];
                    stream.write_all(name.as_bytes()).await?;
                    stream.read_exact(&mut word).await?;
                    stream.write_all(&word).await
                });
            }
        });
        address
    }

    async fn relay(to: SocketAddr, stop: &CancellationToken) -> SocketAddr {
        let relay = Relay::listen(([127, 0, 0, 1], 0).into(), to).await.unwrap();
        let address = relay.listener.local_addr().unwrap();
        tokio::spawn(relay.run(stop.clone()));
        address
    }

    #[tokio::test]
    async fn both_ends_hear_each_other_until_the_term_ends() {
        let stop = CancellationToken::new();
        let address = relay(end("leader").await, &stop).await;
        let mut ours = TcpStream::connect(address).await.unwrap();
        let mut heard = [0; 6];
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"leader");
        ours.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");

        let mut kept = TcpStream::connect(address).await.unwrap();
        let mut heard = [0; 6];
        kept.read_exact(&mut heard).await.unwrap();
        stop.cancel();
        assert_eq!(kept.read(&mut heard).await.unwrap_or(0), 0, "it ends with the term");
    }

    #[tokio::test]
    async fn where_nobody_is_a_connection_ends() {
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let to = gone.local_addr().unwrap();
        drop(gone);
        let address = relay(to, &CancellationToken::new()).await;
        let mut ours = TcpStream::connect(address).await.unwrap();
        assert_eq!(ours.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}
