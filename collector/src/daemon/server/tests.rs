//! Requests of which not everything is read, over real sockets: only there an answer can be lost by a reset.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::connections::ConnectionLimits;
use super::*;
use crate::degradations::Degradations;

/// More than the kernel keeps for a connection.
const LARGE: usize = 32 << 20;
/// No test takes so long by itself.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
    metrics: ConnectionMetrics,
}

impl Running {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let few = |request: Request<Body>| async {
            axum::body::to_bytes(request.into_body(), 10).await.map_or("refused", |_| "read")
        };
        let routes = Router::new()
            .route("/large", axum::routing::any(|| async { vec![b'x'; LARGE] }))
            .route("/few", axum::routing::any(few))
            .fallback(|| async { "small" });
        let shared = shared(448);
        let metrics = shared.metrics.clone();
        let server = Server { listener, tls: None, routes, door: door(), shared };
        let ended = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, stop, ended, metrics }
    }

    /// What a client finds that talks to it on one connection, which is still open when the server has to end.
    async fn client<T: Send + 'static>(self, talk: impl FnOnce(&mut Client) -> io::Result<T> + Send + 'static) -> T {
        let address = self.address;
        let talked = spawn_blocking(move || {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut client = Client(BufReader::new(stream));
            Ok::<_, io::Error>((talk(&mut client)?, client))
        });
        let (found, _client) = talked.await.unwrap().unwrap();
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.ended).await.expect("the server waits for a silent client").unwrap();
        found
    }
}

fn door() -> Door {
    let allowed = Arc::default();
    let hosts = Hosts::at([0, 0, 0, 0].into(), &allowed, "node");
    Door { pool: Pool::Main, hosts, mount: Mount::new("", "/metrics") }
}

fn shared(connections: usize) -> Shared {
    let metrics = ConnectionMetrics::register(&prometheus::Registry::new()).unwrap();
    Shared {
        connections: Connections::new(ConnectionLimits::of(connections, 0), metrics.clone()),
        bodies: Bodies::new(&metrics),
        descriptors: Arc::new(Descriptors::new(1024, Degradations::default(), metrics.clone())),
        metrics,
    }
}

/// A client that reads nothing before it has sent everything.
struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn post(&mut self, path: &str, length: usize) -> io::Result<()> {
        self.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        self.send(&vec![b' '; length])
    }

    /// The lines of the next answer's head in lower case, and its body.
    fn answer(&mut self) -> io::Result<(Vec<String>, Vec<u8>)> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body)?;
        Ok((head, body))
    }

    /// What else the server says before it closes the connection; an error if it resets it.
    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }
}

fn closes(head: &[String]) -> bool {
    head.iter().any(|line| line == "connection: close")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_to_a_large_body_arrives() {
    let answers = Running::start().await.client(|client| {
        client.post("/large", 1 << 20)?;
        let large = client.answer()?;
        client.post("/", 5)?;
        Ok((large, client.answer()?))
    });
    let ((head, large), (_, small)) = answers.await;
    assert_eq!((&*head[0], closes(&head), large.len()), ("http/1.1 200 ok", false, LARGE));
    assert_eq!(small, b"small");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_read_to_their_end() {
    let answers = Running::start().await.client(|client| {
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        client.send("1\r\nx\r\n".repeat(10_000).as_bytes())?;
        client.send(b"0\r\n\r\n")?;
        let first = client.answer()?;
        client.post("/few", 10)?;
        Ok((first, client.answer()?))
    });
    let ((head, first), (_, second)) = answers.await;
    assert!(!closes(&head), "{head:?}");
    assert_eq!((&*first, &*second), (&b"small"[..], &b"read"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_bound_ends_the_connection() {
    for (path, text) in [("/", "small"), ("/few", "refused")] {
        let answer = Running::start().await.client(move |client| {
            client.post(path, 8 << 20)?;
            Ok((client.answer()?, client.rest()?))
        });
        let ((head, body), rest) = answer.await;
        assert!(closes(&head), "{path}: {head:?}");
        assert_eq!((&*body, &*rest), (text.as_bytes(), &[][..]), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_the_bound_is_answered() {
    let running = Running::start().await;
    let refused = running.metrics.refused.with_label_values(&["head_bytes"]);
    let answer = running.client(|client| {
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: ")?;
        client.send(&vec![b'x'; 8 << 20])?;
        client.send(b"\r\n\r\n")?;
        Ok((client.answer()?, client.rest()?))
    });
    let ((head, _), rest) = answer.await;
    assert!(head[0].starts_with("http/1.1 431 "), "{head:?}");
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(refused.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_no_use_is_not_invited() {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    let ((head, body), rest) = Running::start()
        .await
        .client(|client| {
            client.send(head)?;
            Ok((client.answer()?, client.rest()?))
        })
        .await;
    assert_eq!((&*head[0], closes(&head), &*body), ("http/1.1 200 ok", true, &b"small"[..]));
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_not_waited_for() {
    let answer = Running::start().await.client(|client| {
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")?;
        Ok((client.answer()?, client.rest()?))
    });
    let ((head, body), rest) = answer.await;
    assert!(closes(&head), "{head:?}");
    assert_eq!((&*body, &*rest), (&b"small"[..], &[][..]));
}
