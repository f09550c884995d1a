//! The token that says who asks.

use http::header::HeaderValue;
use std::path::{Path, PathBuf};

/// Longest token that is read from a file, bytes.
const LONGEST_TOKEN: u64 = 64 << 10;

/// Where the token comes from. Its value is never printed.
#[derive(Clone, Debug)]
pub(crate) enum Bearer {
    None,
    Fixed(HeaderValue),
    /// Read anew for every question: it is replaced there.
    File(PathBuf),
}

impl Bearer {
    /// A token goes before a file.
    ///
    /// # Errors
    /// The token cannot be sent, in words without it.
    pub(crate) fn new(token: Option<&str>, path: Option<&Path>) -> Result<Self, String> {
        Ok(match (token, path) {
            (Some(token), _) => Self::Fixed(header(token)?),
            (None, Some(path)) => Self::File(path.to_owned()),
            (None, None) => Self::None,
        })
    }

    pub(crate) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The value of `Authorization`, if there is to be one.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, String> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File(path) => {
                let read = read(path).await.map_err(|why| format!("{}: {why}", path.display()))?;
                Ok(Some(read))
            }
        }
    }
}

async fn read(path: &Path) -> Result<HeaderValue, String> {
    let size = tokio::fs::metadata(path)
        .await
        .map_err(|error| error.to_string())?
        .len();
    if size > LONGEST_TOKEN {
        return Err(format!("{size} bytes are no token"));
    }
    let text = tokio::fs::read_to_string(path).await;
    header(text.map_err(|error| error.to_string())?.trim())
}

fn header(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| "has characters that no header may have")?;
    value.set_sensitive(true);
    Ok(value)
}
