//! One way to a collector: gRPC or HTTP, with the retries that the specification asks for.

use super::config::{Export, Retry};
use super::endpoint::Protocol;
use super::grpc::{Grpc, GrpcError};
use super::http::{Http, HttpError};
use super::request::{Accepted, Request, SendError};
use super::stop::Stop;
use crate::domain::failure::whole;
use std::time::Duration;
use tokio::time::Instant;

/// A way to a collector for one signal.
pub struct Transport {
    export: Export,
    retry: Retry,
    /// Made at the first attempt, and anew after one that failed: then certificates are read again.
    client: Option<Client>,
}

enum Client {
    Grpc(Grpc),
    Http(Http),
}

#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Transport {
    /// A way that is not yet tried.
    pub fn new(export: Export, retry: Retry) -> Transport {
        Transport { export, retry, client: None }
    }

    /// Sends a request, made anew for each attempt, until the collector takes it, refuses it for
    /// good, or time is up. Once the end is asked for, there is one more attempt.
    pub async fn export(
        &mut self,
        request: impl Fn() -> Request,
        limit: Duration,
        stop: &Stop,
    ) -> Result<Accepted, SendError> {
        let deadline = Instant::now() + limit;
        let mut pause = self.retry.first;
        loop {
            let last = stop.is_requested();
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.attempt(request(), left.min(self.export.timeout)).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            // A connection that went dead in silence would let every further attempt hang.
            self.client = None;
            let wait = error.after.unwrap_or_else(|| jittered(pause));
            if !error.retryable || last || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.requested() => {}
            }
            pause = (pause * 2).min(self.retry.longest);
        }
    }

    async fn attempt(&mut self, request: Request, limit: Duration) -> Result<Accepted, SendError> {
        if self.client.is_none() {
            let made = self.connect();
            let hopeless = |problem| SendError { retryable: false, ..SendError::unanswered(problem) };
            self.client = Some(made.map_err(|error| hopeless(whole(&error)))?);
        }
        match &self.client {
            Some(Client::Grpc(client)) => client.send(request, limit).await,
            Some(Client::Http(client)) => client.send(request, limit).await,
            None => Err(SendError::unanswered("no connection".to_owned())),
        }
    }

    fn connect(&self) -> Result<Client, ClientError> {
        Ok(match self.export.endpoint.protocol {
            Protocol::Grpc => Client::Grpc(Grpc::new(&self.export)?),
            Protocol::HttpProtobuf => Client::Http(Http::new(&self.export)?),
        })
    }
}

/// Up to a fifth more or less, so that the agents of all nodes do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness there is no jitter, and that is all.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.8 + 0.4 * f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_vary_by_a_fifth() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&pause), "{pause:?}");
        }
    }
}
