//! A demo that goes on until somebody ends it.

use crate::installed::{Installed, texts};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running demo; killed where a test fails in the middle.
struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout }
    }

    /// Reads up to the line with this text.
    fn line_with(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let length = self.stdout.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended without {text:?}:\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        // Read on, so that it is never held up by a full pipe.
        self.stdout.read_to_string(&mut String::new()).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let installed = Installed::new();
    let mut demo = Running::start(installed.demo(&[]));
    demo.line_with("✓ the agent");
    assert_eq!(demo.end(Signal::SIGINT), Some(130));
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn a_killed_demo_leaves_an_empty_directory_and_no_process() {
    let installed = Installed::new();
    let mut demo = Running::start(installed.demo(&[]));
    demo.line_with("✓ the agent");
    assert_eq!(demo.end(Signal::SIGKILL), None);
    let left = installed.leftovers_within(Duration::from_secs(20), 1);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_dir(&left[0]).unwrap().count(), 0);
}

#[test]
fn the_page_has_the_same_trace_and_is_there_until_the_end() {
    let installed = Installed::new();
    let mut demo = Running::start(installed.demo(&["--serve"]));
    let trace = demo.line_with("TRACE ");
    let id = trace.trim().trim_start_matches("TRACE ").split(':').next().unwrap().to_owned();
    let line = demo.line_with("http://127.0.0.1:");
    assert_eq!(installed.leftovers().len(), 1, "all but the page is gone: {:?}", installed.leftovers());
    let address = line.split_once("http://").unwrap().1.split(' ').next().unwrap();
    let page = get(address);
    for text in [id.as_str(), "shop/web-0", "rules.apply", "istio_cni_requests_total", "web-0:15006", "10.96.0.0/99"] {
        assert!(page.contains(text), "{text:?} is not in the page:\n{page}");
    }
    assert_eq!(demo.end(Signal::SIGTERM), Some(0));
}

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    page
}

#[test]
fn a_page_whose_address_is_taken_is_refused_before_anything_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let installed = Installed::new();
    let address = taken.local_addr().unwrap().to_string();
    let output = installed.demo(&["--serve", &address]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with(&format!("istio-cni-otel: cannot serve the page on {address}")), "{stderr}");
}
