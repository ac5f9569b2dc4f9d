//! A server on loopback, as little as a client of ours needs: the stand-in API server is made of it, and
//! a collector that takes everything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server on loopback that answers each request by a function of its request line and body.
pub struct Server {
    pub address: String,
    pub requests: Arc<AtomicUsize>,
}

impl Server {
    /// A collector that takes whatever comes over HTTP.
    pub fn collector() -> Server {
        Server::start(|_, stream| respond(stream, "200 OK", ""))
    }

    /// Serves with this function, which says whether the connection goes on.
    pub fn start(answer: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (Arc::new(answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                std::thread::spawn(move || serve(stream, &*answer, &count));
            }
        });
        Server { address, requests }
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str, &mut TcpStream) -> bool, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut request = String::new();
        if !matches!(reader.read_line(&mut request), Ok(length) if length > 0) {
            return;
        }
        let (mut line, mut length) = (String::new(), 0_u64);
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            line.clear();
        }
        let _ = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink());
        count.fetch_add(1, Ordering::Relaxed);
        if !answer(&request, &mut stream) {
            return;
        }
    }
}

/// Answers with this status (`200 OK`) and body.
pub fn respond(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let kind = if body.is_empty() { "application/x-protobuf" } else { "application/json" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).is_ok()
}
