//! Port-forward as the API server speaks it over a WebSocket: subprotocol `v4.channel.k8s.io`, two channels
//! for the port, data (0) and errors (1), each of which begins with the port in two bytes.

use super::Shared;
use super::routes::{failed, missing};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

const PROTOCOL: &str = "v4.channel.k8s.io";
const DATA: u8 = 0;
const ERRORS: u8 = 1;

pub(super) async fn forward(
    State(shared): State<Arc<Shared>>,
    Path(pod): Path<(String, String)>,
    mut request: Request,
) -> Response {
    if let Some(fault) = shared.asked("portforward", "get", request.uri()) {
        return failed(fault).await;
    }
    let Some(to) = shared.lock().ports.get(&pod).copied() else { return missing("pods", &pod.1) };
    let said = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert!(said(header::SEC_WEBSOCKET_PROTOCOL).contains(PROTOCOL));
    let key = derive_accept_key(said(header::SEC_WEBSOCKET_KEY).as_bytes());
    let port: u16 = request.uri().query().and_then(|query| query.rsplit("ports=").next()).unwrap().parse().unwrap();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await.unwrap()), Role::Server, None).await;
        // Whoever asked may leave at any time.
        let _ = connect(socket, port, to).await;
    });
    let headers = [
        (header::UPGRADE, "websocket".to_owned()),
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, key),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL.to_owned()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;
type Over = Result<(), tokio_tungstenite::tungstenite::Error>;

async fn connect(mut socket: Socket, port: u16, to: SocketAddr) -> Over {
    for channel in [DATA, ERRORS] {
        let [low, high] = port.to_le_bytes();
        socket.send(Message::binary(vec![channel, low, high])).await?;
    }
    let mut stream = match TcpStream::connect(to).await {
        Ok(stream) => stream,
        Err(error) => {
            let said = format!("error forwarding port {port} to pod cafe, uid : failed to dial {port}: {error}");
            socket.send(Message::binary([&[ERRORS], said.as_bytes()].concat())).await?;
            return socket.close(None).await;
        }
    };
    let (mut from, mut into) = stream.split();
    let mut buffer = vec![0; 1 << 14];
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(read @ 1..) => {
                    let mut message = vec![DATA];
                    message.extend_from_slice(&buffer[..read]);
                    socket.send(Message::binary(message)).await?;
                }
                _ => return socket.close(None).await,
            },
            message = socket.next() => match message.transpose()? {
                Some(Message::Binary(bytes)) if bytes.first() == Some(&DATA) => into.write_all(&bytes[1..]).await?,
                Some(Message::Close(_)) | None => return Ok(()),
                Some(_) => {}
            },
        }
    }
}
