//! What to do about a question that failed.

use super::client::QueryError;
use http::StatusCode;

impl QueryError {
    /// What happened, and the remedy where there is one.
    pub(super) fn in_words(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Status(_, status, _) => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    Some("give a token that may ask it (PROMETHEUS_BEARER_TOKEN or PROMETHEUS_TOKEN_PATH)")
                }
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                    Some("does PROMETHEUS_BASE_URL name a Prometheus, with its whole path?")
                }
                status if status.is_redirection() => {
                    Some("it points elsewhere: set PROMETHEUS_BASE_URL to where it really is")
                }
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::TOO_MANY_REQUESTS => {
                    Some("it is overloaded or starting: look at its log")
                }
                _ => None,
            },
            Self::Deadline(..) => Some("is it overloaded, or does something on the way drop packets?"),
            Self::Unreachable(..) => Some(
                "is it running, is PROMETHEUS_BASE_URL right, and do its certificate and PROMETHEUS_CA_CERT_PATH fit?",
            ),
            Self::Format(..) => Some("does PROMETHEUS_BASE_URL name a Prometheus, with its whole path?"),
            Self::TooLarge(..) | Self::BrokeOff(..) | Self::Token(..) => None,
        }
    }
}
