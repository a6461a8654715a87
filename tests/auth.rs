//! Who is let in: passwords, digests, tokens and TLS, over real connections.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::support::collector::{Collector, Rights, run_to_end};
use crate::support::docker::Docker;
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("auth::passwords", passwords),
    Case::new("auth::digests", digests),
    Case::new("auth::tokens", tokens),
    Case::new("auth::tls", tls),
    Case::new("auth::docker_wants_a_certificate", docker_wants_a_certificate),
    Case::new("auth::unusable_files", unusable_files),
    Case::new("auth::slow_clients", slow_clients),
];

/// `secret`, by bcrypt.
const SECRET: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
/// `changed`, by Apache's MD5.
const CHANGED: &str = "$apr1$abcdefgh$o/06UTsbN29.l86D5w4Yn.";

/// What only a web page's readers are asked for, and what programs ask for.
const PAGES: [&str; 4] = ["/containers/", "/containers/docker", "/static/containers.js", "/%63ontainers/"];
const DATA: [&str; 5] = ["/api/v1.3/machine", "/%61pi/v1.3/machine", "/metrics", "/api/v2.1/stats", "/"];
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// A folder of files, removed when dropped.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("collector-test-auth-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file in its place at once, as an editor or a Kubernetes secret does.
    pub(crate) fn put(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        let new = self.0.join(format!("{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, &path)?;
        Ok(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

pub(crate) fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn ask(collector: &Collector, target: &str, authorization: &str) -> Result<Response> {
    let headers = [("Authorization", authorization)];
    collector.get_with(target, if authorization.is_empty() { &[] } else { &headers })
}

/// Each of these answers so.
fn all_answer(collector: &Collector, targets: &[&str], authorization: &str, status: u16) -> Result<()> {
    for target in targets {
        let response = ask(collector, target, authorization)?;
        // What leads to the page is an answer.
        let said = if response.status == 307 { 200 } else { response.status };
        ensure!(said == status, "{target} with {authorization:?}: {} and not {status}", response.status);
    }
    Ok(())
}

fn passwords() -> Result<()> {
    let files = Files::new("passwords")?;
    let users = files.put("users", &format!("ann:{SECRET}\n"))?;
    let (right, wrong) = (basic("ann:secret"), basic("ann:Secret"));
    let users_flag = flag("http_auth_file", &users);

    // As with cAdvisor: the pages alone.
    let mut collector = Collector::start(&[&users_flag, "--http_auth_realm=the node"])?;
    for credentials in ["", &wrong, "Basic", "Bearer x", "Basic ////"] {
        all_answer(&collector, &PAGES, credentials, 401)?;
        all_answer(&collector, &DATA, credentials, 200)?;
    }
    all_answer(&collector, &PAGES, &right, 200)?;
    let refused = collector.get("/containers/")?;
    ensure!(refused.text() == "401 Unauthorized\n", "{}", refused.text());
    ensure!(refused.header("www-authenticate") == Some("Basic realm=\"the node\""), "{:?}", refused.headers);
    ensure!(refused.header("content-type") == Some("text/plain"), "{:?}", refused.headers);

    // What was remembered to be right is forgotten with the file.
    files.put("users", &format!("ann:{CHANGED}\n"))?;
    all_answer(&collector, &PAGES, &right, 401)?;
    all_answer(&collector, &PAGES, &basic("ann:changed"), 200)?;
    files.put("users", "ann:plain\n")?;
    all_answer(&collector, &PAGES, &basic("ann:plain"), 401)?;
    all_answer(&collector, &PAGES, &basic("ann:changed"), 200)?;
    collector.check_alive()?;
    drop(collector);

    files.put("users", &format!("ann:{SECRET}\n"))?;
    let collector = Collector::launch(&Rights::default(), &[&users_flag, "--auth_api", "--url_base_prefix=/node"])?;
    let below = |targets: &[&str]| targets.iter().map(|target| format!("/node{target}")).collect::<Vec<_>>();
    let (pages, data, health) = (below(&PAGES), below(&DATA), below(&HEALTH));
    let all: Vec<&str> = pages.iter().chain(&data).map(String::as_str).collect();
    let health: Vec<&str> = health.iter().map(String::as_str).collect();
    wait::eventually(wait::seconds(10), || all_answer(&collector, &health, "", 200))?;
    all_answer(&collector, &all, "", 401)?;
    all_answer(&collector, &all, &wrong, 401)?;
    all_answer(&collector, &all, &right, 200)?;
    all_answer(&collector, &["/healthz", "/api/v1.3/machine"], &right, 404)
}

fn md5(text: &str) -> String {
    use std::fmt::Write as _;
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What a client answers to a challenge.
fn answer(challenge: &str, target: &str, password: &str, count: u32) -> Result<String> {
    let field = |name: &str| {
        let (_, rest) =
            challenge.split_once(&format!("{name}=\"")).with_context(|| format!("{name} in {challenge}"))?;
        Ok::<_, crate::support::Error>(rest.split('"').next().unwrap_or_default())
    };
    let (realm, nonce, opaque) = (field("realm")?, field("nonce")?, field("opaque")?);
    let ha1 = md5(&format!("ann:{realm}:{password}"));
    let ha2 = md5(&format!("GET:{target}"));
    let response = md5(&format!("{ha1}:{nonce}:{count:08x}:0a4f:auth:{ha2}"));
    Ok(format!(
        "Digest username=\"ann\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", cnonce=\"0a4f\", \
         nc={count:08x}, qop=auth, response=\"{response}\", opaque=\"{opaque}\", algorithm=MD5"
    ))
}

fn digests() -> Result<()> {
    let files = Files::new("digests")?;
    let users = files.put("users", &format!("ann:localhost:{}\n", md5("ann:localhost:secret")))?;
    let collector = Collector::start(&[&flag("http_digest_file", &users), "--auth_api"])?;
    let challenge = |response: &Response| response.header("www-authenticate").unwrap_or_default().to_owned();
    let target = "/api/v1.3/machine?x=%20y";
    let refused = collector.get(target)?;
    ensure!(refused.status == 401, "without a password: {}", refused.status);
    let asked = challenge(&refused);
    ensure!(asked.starts_with("Digest realm=\"localhost\", nonce=\"") && !asked.contains("stale"), "{asked}");

    let first = answer(&asked, target, "secret", 1)?;
    let granted = ask(&collector, target, &first)?;
    ensure!(granted.status == 200, "with the password: {} {}", granted.status, granted.text());
    let proof = granted.header("authentication-info").unwrap_or_default();
    ensure!(proof.contains("rspauth=") && proof.contains("nc=00000001"), "{:?}", granted.headers);
    all_answer(&collector, &[target], &answer(&asked, target, "secret", 2)?, 200)?;

    let replayed = ask(&collector, target, &first)?;
    ensure!(replayed.status == 401 && challenge(&replayed).contains("stale=true"), "sent again: {replayed:?}");
    for (wrong, why) in [
        (answer(&asked, target, "Secret", 3)?, "a wrong password"),
        (answer(&asked, "/metrics", "secret", 3)?, "another address"),
        (answer(&asked, target, "secret", 3)?.replace("qop=auth,", ""), "without what counts requests"),
    ] {
        let response = ask(&collector, target, &wrong)?;
        ensure!(response.status == 401 && !challenge(&response).contains("stale"), "{why}: {response:?}");
    }
    all_answer(&collector, &HEALTH, "", 200)?;

    // A client that somebody else wrote, where there is one.
    let url = format!("http://{}{target}", collector.address());
    let curl = std::process::Command::new("curl")
        .args([
            "--silent",
            "--digest",
            "--user",
            "ann:secret",
            "--write-out",
            "%{http_code}",
            "--output",
            "/dev/null",
            &url,
        ])
        .output();
    match curl {
        Ok(output) => ensure!(output.stdout == b"200", "curl: {output:?}"),
        Err(error) => ensure!(error.kind() == ErrorKind::NotFound, "curl: {error}"),
    }
    Ok(())
}

fn tokens() -> Result<()> {
    let files = Files::new("tokens")?;
    let users = files.put("users", &format!("ann:{SECRET}\n"))?;
    let tokens = files.put("tokens", "first\n# the next one\nsecond\n")?;
    let collector =
        Collector::start(&[&flag("bearer_token_file", &tokens), &flag("http_auth_file", &users), "--port=0"])?;
    let all: Vec<&str> = PAGES.iter().chain(&DATA).copied().collect();
    for credentials in ["", "Bearer", "Bearer third", "Bearer firs", "first", "Basic first"] {
        all_answer(&collector, &all, credentials, 401)?;
    }
    // A person may show a password in place of a token.
    for credentials in ["Bearer first", "bearer second", &basic("ann:secret")] {
        all_answer(&collector, &all, credentials, 200)?;
    }
    all_answer(&collector, &HEALTH, "", 200)?;
    let asked: Vec<String> = collector
        .get("/metrics")?
        .headers
        .into_iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, value)| value)
        .collect();
    ensure!(asked == ["Bearer", "Basic realm=\"localhost\""], "{asked:?}");
    files.put("tokens", "third\n")?;
    all_answer(&collector, &["/metrics"], "Bearer first", 401)?;
    all_answer(&collector, &["/metrics"], "Bearer third", 200)
}

/// A certificate for `localhost` and its key, in PEM, and the certificate as clients know it.
pub(crate) fn certificate() -> Result<(String, String, CertificateDer<'static>)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().clone()))
}

pub(crate) type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Connects as a client that trusts this certificate and speaks these protocols.
pub(crate) fn connect(
    collector: &Collector,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
    version: &'static SupportedProtocolVersion,
) -> Result<Encrypted> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version])?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = collector.connect()?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn tls() -> Result<()> {
    let files = Files::new("tls")?;
    let (first, first_key, first_der) = certificate()?;
    let certificate_file = files.put("cert", &first)?;
    let key_file = files.put("key", &first_key)?;
    let flags = [flag("tls_cert_file", &certificate_file), flag("tls_private_key_file", &key_file)];
    let mut collector = Collector::launch(&Rights::default(), &[&flags[0], &flags[1]])?;
    let healthy = |trusted: &CertificateDer<'static>, version| -> Result<()> {
        let stream = connect(&collector, trusted, &[b"http/1.1"], version)?;
        let response = http::request(stream, "GET", "/healthz", None)?;
        ensure!(response.status == 200 && response.text() == "ok", "{response:?}");
        Ok(())
    };
    wait::eventually(wait::seconds(10), || healthy(&first_der, &version::TLS13))?;
    healthy(&first_der, &version::TLS12)?;

    // Whoever does not speak TLS gets nothing, and nobody is held up.
    let plain = http::request(collector.connect()?, "GET", "/api/v1.3/machine", None);
    ensure!(!plain.as_ref().is_ok_and(|response| response.status == 200), "an answer in the clear: {plain:?}");

    let mut h2 = connect(&collector, &first_der, &[b"h2", b"http/1.1"], &version::TLS13)?;
    ensure!(h2.conn.alpn_protocol() == Some(b"h2"), "agreed upon {:?}", h2.conn.alpn_protocol());
    // The preface and an empty SETTINGS frame; the answer begins with the server's own.
    h2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    let mut frame = [0; 9];
    h2.read_exact(&mut frame)?;
    ensure!(frame[3] == 4, "the first frame is of type {}", frame[3]);

    // A new certificate without a restart; a half-written pair leaves the old one in force.
    let (second, second_key, second_der) = certificate()?;
    files.put("cert", &second)?;
    healthy(&first_der, &version::TLS13).context("the certificate is new, its key is not there yet")?;
    files.put("key", &second_key)?;
    healthy(&second_der, &version::TLS13).context("the new certificate")?;
    ensure!(healthy(&first_der, &version::TLS13).is_err(), "the old certificate is still shown");
    collector.check_alive()
}

/// A certificate and its key in PEM, issued by this issuer.
fn issued(issuer: &Issuer<'_, KeyPair>) -> Result<[String; 2]> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, issuer)?;
    Ok([certificate.pem(), key.serialize_pem()])
}

/// Docker that listens on TCP and lets nobody in without a certificate.
fn docker_wants_a_certificate() -> Result<()> {
    let files = Files::new("docker")?;
    let mut authority = CertificateParams::default();
    // Another name than that of what it issues, which would look like issued by itself.
    authority.distinguished_name.push(DnType::CommonName, "collector-test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let ca = files.put("ca.pem", &authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    let [server, server_key] = issued(&issuer)?;
    let [client, client_key] = issued(&issuer)?;
    let (server, server_key) = (files.put("server.pem", &server)?, files.put("server-key.pem", &server_key)?);
    let (client, client_key) = (files.put("client.pem", &client)?, files.put("client-key.pem", &client_key)?);
    // Free a moment ago; nothing else here takes ports by number.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let docker = Docker::start_with(&[
        format!("--host=tcp://{address}"),
        "--tlsverify".to_owned(),
        flag("tlscacert", &ca),
        flag("tlscert", &server),
        flag("tlskey", &server_key),
    ])?;
    let id = docker.run_named("behind-tls", &[], &[])?;
    let collector = Collector::start(&[
        &format!("--docker=tcp://{address}"),
        "--docker-tls",
        &flag("docker-tls-ca", &ca),
        &flag("docker-tls-cert", &client),
        &flag("docker-tls-key", &client_key),
    ])?;
    wait::eventually(wait::seconds(10), || {
        let known = collector.get(&format!("/api/v1.3/containers/docker/{id}"))?.text();
        ensure!(known.contains("\"behind-tls\""), "its name is not known: {known:.200}");
        Ok(())
    })
}

fn unusable_files() -> Result<()> {
    let files = Files::new("unusable")?;
    let users = files.put("users", "# people\nann:rqXexS6ZhobKA\n")?;
    let empty = files.put("empty", "\n")?;
    let (certificate_text, _, _) = certificate()?;
    let certificate_file = files.put("cert", &certificate_text)?;
    let missing = files.0.join("missing");
    for (flags, expected) in [
        (vec![flag("http_auth_file", &users)], "users, line 2: neither a hash of bcrypt"),
        (vec![flag("http_digest_file", &users)], "users, line 2: not of the form user:realm:hash"),
        (vec![flag("http_auth_file", &missing)], "missing: No such file or directory (os error 2); give the path"),
        (vec![flag("bearer_token_file", &empty)], "empty: no token; write one"),
        (
            vec![flag("tls_cert_file", &certificate_file), flag("tls_private_key_file", &empty)],
            "empty: no unencrypted private key in PEM",
        ),
        (vec![flag("tls_cert_file", &certificate_file)], "needs --tls_private_key_file"),
        (vec!["--auth_api".to_owned()], "there is nothing to ask for"),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (status, log) = run_to_end(&Rights::default(), &flags)?;
        ensure!(!status.success(), "{flags:?}: it ended well");
        ensure!(log.iter().any(|line| line.starts_with("error: ") && line.contains(expected)), "{flags:?}: {log:?}");
    }
    Ok(())
}

/// A client that does not get on with its request is hung up on, and holds up nobody meanwhile.
fn slow_clients() -> Result<()> {
    let mut collector = Collector::start(&[])?;
    let began = Instant::now();
    let begin = |text: &[u8]| -> Result<TcpStream> {
        let mut stream = collector.connect()?;
        stream.write_all(text)?;
        stream.set_read_timeout(Some(wait::seconds(90)))?;
        Ok(stream)
    };
    let mut silent = (0..100).map(|_| begin(b"")).collect::<Result<Vec<_>>>()?;
    let mut halting =
        (0..100).map(|_| begin(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-")).collect::<Result<Vec<_>>>()?;
    // The beginning of HTTP/2, at which nobody waits for the rest.
    let mut preface = begin(b"PRI * HTT")?;
    let mut body = begin(b"POST /api/v1.3/containers/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")?;
    ensure!(collector.get("/healthz")?.status == 200, "nobody else is answered");

    let mut too_long = begin(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000)).as_bytes())?;
    let mut answer = Vec::new();
    let _ = too_long.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "too long a head: {answer:.100}");

    for stream in silent.iter_mut().chain(&mut halting).chain([&mut preface]) {
        // Hung up on, with or without a word.
        match stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error).context("a client that says nothing is not hung up on"),
        }
    }
    let mut answer = Vec::new();
    let _ = body.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 500") && answer.contains("did not arrive"), "half a body: {answer:.200}");
    ensure!(began.elapsed() < wait::seconds(100), "it took {:?}", began.elapsed());
    collector.check_alive()
}
