//! A stand-in for an API server that answers each connection with the next reply of its script,
//! and the last one for ever after; over plain HTTP or TLS, on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How a connection is answered.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "each test binary uses the replies that it needs")]
pub enum Reply {
    /// A status and a JSON body.
    Json(u16, String),
    /// Any bytes.
    Raw(Vec<u8>),
    /// The request is read, and then nothing happens until the server ends.
    Silence,
    /// The connection is closed at once.
    HangUp,
}

/// A running server; it ends when it is dropped.
pub struct ScriptedApi {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedApi {
    /// Serves plain HTTP.
    pub fn http(script: Vec<Reply>) -> ScriptedApi {
        ScriptedApi::serve("127.0.0.1:0", script, None)
    }

    /// Serves on this address with this TLS configuration, if there is one.
    pub fn serve(address: &str, script: Vec<Reply>, tls: Option<Arc<rustls::ServerConfig>>) -> ScriptedApi {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let reply = script.get(number).or(script.last()).unwrap();
                if let Some(stream) = answer(stream.unwrap(), reply, tls.clone(), &seen) {
                    held.push(stream);
                }
            }
        });
        ScriptedApi { address, requests, stop, thread: Some(thread) }
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers one connection; a silent one is given back so that it stays open.
fn answer(
    stream: TcpStream,
    reply: &Reply,
    tls: Option<Arc<rustls::ServerConfig>>,
    seen: &Mutex<Vec<String>>,
) -> Option<Box<dyn Read + Send>> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    if matches!(reply, Reply::HangUp) {
        return None;
    }
    match tls {
        None => converse(stream, reply, seen),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            converse(rustls::StreamOwned::new(connection, stream), reply, seen)
        }
    }
}

fn converse<S: Read + Write + Send + 'static>(
    mut stream: S,
    reply: &Reply,
    seen: &Mutex<Vec<String>>,
) -> Option<Box<dyn Read + Send>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    let bytes = match reply {
        Reply::Json(status, body) => format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        Reply::Raw(bytes) => bytes.clone(),
        Reply::Silence | Reply::HangUp => return Some(Box::new(stream)),
    };
    let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
    None
}
