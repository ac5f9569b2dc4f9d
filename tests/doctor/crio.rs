//! A stand-in for a container runtime at its CRI socket: it says its name, whether it and its network are ready, and of its
//! directories what such a runtime does, or it refuses.

use crate::cni_tools::cri::{Anything, Condition, RuntimeStatus, StatusResponse, VersionResponse};
use axum::routing::get;
use futures::future::BoxFuture;
use futures::stream;
use std::convert::Infallible;
use std::path::PathBuf;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::Routes;
use tonic_prost::ProstCodec;

/// What the stand-in says.
#[derive(Clone, Default)]
pub struct Says {
    pub name: &'static str,
    /// Why it is not ready, and why its network is not.
    pub broken: Option<&'static str>,
    pub no_network: Option<&'static str>,
    /// What its verbose status has besides.
    pub info: Vec<(&'static str, String)>,
    /// What it tells of its configuration, as CRI-O does.
    pub config: Option<&'static str>,
    /// Every question is answered with an error.
    pub refuses: bool,
}

impl Says {
    /// A containerd that reads these directories.
    pub fn containerd(net: &str, bin: &str) -> Says {
        let directories = serde_json::json!({"PluginDirs": [bin], "PluginConfDir": net}).to_string();
        Says { name: "containerd", info: vec![("cniconfig", directories)], ..Says::default() }
    }

    /// A CRI-O, which says nothing of its directories.
    pub fn crio() -> Says {
        Says { name: "cri-o", info: vec![("config", r#"{"sandboxImage":"p"}"#.to_owned())], ..Says::default() }
    }
}

/// The stand-in, until it is dropped; its socket goes with it.
pub struct StandIn {
    socket: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl StandIn {
    /// Listens at this path.
    pub fn start(socket: PathBuf, says: Says) -> StandIn {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).unwrap()
        };
        let connections = stream::unfold(listener, |listener| async {
            let taken = listener.accept().await.map(|(stream, _)| stream);
            Some((taken, listener))
        });
        let mut routes = Routes::new(Served(says.clone())).into_axum_router();
        if let Some(config) = says.config {
            routes = routes.route("/config", get(move || async move { config }));
        }
        let server = tonic::transport::Server::builder().accept_http1(true).add_routes(Routes::from(routes));
        runtime.spawn(server.serve_with_incoming(connections));
        StandIn { socket, _runtime: runtime }
    }
}

#[derive(Clone)]
struct Served(Says);

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
        let says = self.0.clone();
        Box::pin(async move {
            if says.refuses {
                return Ok(tonic::Status::unimplemented("unknown service runtime.v1.RuntimeService").into_http());
            }
            if request.uri().path().ends_with("/Version") {
                let version = VersionResponse { name: says.name.into(), version: "1.33.0".into() };
                return Ok(Grpc::new(ProstCodec::default()).unary(Answer(version), request).await);
            }
            let condition = |kind: &str, problem: Option<&str>| {
                let message = problem.unwrap_or_default().to_owned();
                Condition { kind: kind.to_owned(), status: problem.is_none(), message, ..Condition::default() }
            };
            let conditions = vec![condition("RuntimeReady", says.broken), condition("NetworkReady", says.no_network)];
            let info = says.info.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let answer = StatusResponse { status: Some(RuntimeStatus { conditions }), info };
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
