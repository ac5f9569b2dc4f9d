//! Asking the agent over its socket on the node: one GET, one bounded answer.

use super::uds::Connection;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No head of an answer is longer.
const LONGEST_HEAD: usize = 16 << 10;

/// The agent gave no answer over its socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("nobody answers at {}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("no whole answer came from {}", .socket.display())]
    Exchange { socket: PathBuf, source: io::Error },
    #[error("the answer from {} is longer than the {limit} bytes that are read", .socket.display())]
    TooLong { socket: PathBuf, limit: usize },
    #[error("what came from {} is no answer of HTTP", .socket.display())]
    Malformed { socket: PathBuf },
    #[error("{} answers with status {status}: {text}", .socket.display())]
    Status { socket: PathBuf, status: u16, text: String },
}

/// Gets a path, within `limit`; an answer may have so many bytes.
pub fn get(socket: &Path, path: &str, limit: Duration, most: usize) -> Result<Vec<u8>, LocalError> {
    let owned = || socket.to_owned();
    let connection = Connection::connect(socket, limit);
    let mut connection = connection.map_err(|source| LocalError::Connect { socket: owned(), source })?;
    connection.limit(limit);
    let exchanged = exchange(&mut connection, path, most + LONGEST_HEAD);
    let answer = exchanged.map_err(|source| LocalError::Exchange { socket: owned(), source })?;
    if answer.len() >= most + LONGEST_HEAD {
        return Err(LocalError::TooLong { socket: owned(), limit: most });
    }
    let Some((status, body)) = parse(&answer) else { return Err(LocalError::Malformed { socket: owned() }) };
    if status == 200 {
        return Ok(body.to_vec());
    }
    let text = String::from_utf8_lossy(body.get(..body.len().min(512)).unwrap_or_default()).trim().to_owned();
    Err(LocalError::Status { socket: owned(), status, text })
}

/// HTTP/1.0, so that the answer is whole when the connection ends, and comes in one piece.
fn exchange(connection: &mut Connection, path: &str, most: usize) -> io::Result<Vec<u8>> {
    connection
        .send(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n").as_bytes())?;
    connection.receive_all(most)
}

fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.get(end + 4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    fn answered(answer: &'static [u8]) -> Result<Vec<u8>, LocalError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let got = stream.read(&mut request).unwrap();
            assert!(request[..got].starts_with(b"GET /api HTTP/1.0\r\n"));
            stream.write_all(answer).unwrap();
        });
        let got = get(&path, "/api", Duration::from_secs(20), 64);
        server.join().unwrap();
        got
    }

    #[test]
    fn the_body_of_a_good_answer_comes_back() {
        assert_eq!(answered(b"HTTP/1.0 200 OK\r\nx: y\r\n\r\n{\"a\":1}").unwrap(), b"{\"a\":1}");
    }

    #[test]
    fn every_other_answer_is_an_error_that_says_so() {
        assert!(matches!(answered(b"HTTP/1.1 404 Not Found\r\n\r\nno\n"), Err(LocalError::Status { status: 404, .. })));
        assert!(matches!(answered(b"SSH-2.0-x\r\n\r\n"), Err(LocalError::Malformed { .. })));
        assert!(matches!(answered(b""), Err(LocalError::Malformed { .. })));
        assert!(matches!(answered(&[b'x'; LONGEST_HEAD + 64]), Err(LocalError::TooLong { .. })));
        let nobody = get(Path::new("/nowhere/page.sock"), "/", Duration::from_secs(1), 64);
        assert!(matches!(nobody, Err(LocalError::Connect { .. })));
    }
}
