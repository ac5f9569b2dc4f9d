//! A stand-in for CRI-O at its CRI socket: it says its name and whether the network is ready, and, as CRI-O does, nothing
//! of its directories.

use crate::cni_tools::cri::{Anything, Condition, RuntimeStatus, StatusResponse, VersionResponse};
use futures::future::BoxFuture;
use futures::stream;
use std::convert::Infallible;
use std::path::Path;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

/// The stand-in, until it is dropped.
pub struct CriO(#[expect(dead_code, reason = "it serves until it is dropped")] tokio::runtime::Runtime);

impl CriO {
    /// Listens at this path; without a problem its network is ready.
    pub fn start(socket: &Path, problem: Option<&str>) -> CriO {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(socket).unwrap()
        };
        let connections = stream::unfold(listener, |listener| async {
            let taken = listener.accept().await.map(|(stream, _)| stream);
            Some((taken, listener))
        });
        let service = Served { problem: problem.map(str::to_owned) };
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections);
        runtime.spawn(serving);
        CriO(runtime)
    }
}

#[derive(Clone)]
struct Served {
    problem: Option<String>,
}

impl NamedService for Served {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl Service<Request<Body>> for Served {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let problem = self.problem.clone();
        Box::pin(async move {
            if request.uri().path().ends_with("/Version") {
                let version = VersionResponse { name: "cri-o".into(), version: "1.33.0".into() };
                return Ok(Grpc::new(ProstCodec::default()).unary(Answer(version), request).await);
            }
            let kind = "NetworkReady".to_owned();
            let (status, message) = (problem.is_none(), problem.unwrap_or_default());
            let condition = Condition { kind, status, message, ..Condition::default() };
            let status = Some(RuntimeStatus { conditions: vec![condition] });
            let answer =
                StatusResponse { status, info: [("config".to_owned(), r#"{"sandboxImage":"p"}"#.to_owned())].into() };
            Ok(Grpc::new(ProstCodec::default()).unary(Answer(answer), request).await)
        })
    }
}

/// Answers everything with this.
struct Answer<A>(A);

impl<A: prost::Message + Clone + 'static> UnaryService<Anything> for Answer<A> {
    type Response = A;
    type Future = BoxFuture<'static, Result<tonic::Response<A>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<Anything>) -> Self::Future {
        let answer = self.0.clone();
        Box::pin(async move { Ok(tonic::Response::new(answer)) })
    }
}
