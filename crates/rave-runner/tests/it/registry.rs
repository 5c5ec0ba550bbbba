//! A real registry on a free port, images made by hand, and a gate before it that demands tokens or misbehaves.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The password of `user` in a registry that asks for one.
pub(crate) const PASSWORD: &str = "secret";
const HTPASSWD: &str = "$2b$04$1XLevXndXyNEtHBjYVy20.u52f49gml6ZSin5B9fGOAmjTSS9YbCO";

/// Debian's `docker-registry`, which is the reference implementation.
pub(crate) struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    http: reqwest::Client,
    password: bool,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::start_with(false)
    }

    /// Starts a registry that asks for the password.
    pub(crate) fn private() -> Self {
        Self::start_with(true)
    }

    fn start_with(password: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("store");
        let mut config = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": store}},
            "http": {"addr": "127.0.0.1:0"},
            "log": {"level": "info"},
        });
        if password {
            let users = dir.path().join("users");
            std::fs::write(&users, format!("user:{HTPASSWD}\n")).expect("written");
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": users}});
        }
        // JSON is YAML.
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config.to_string()).expect("written");
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry, of the Debian package of that name");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let host = loop {
            let line = lines.next().expect("the registry starts").expect("a line");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(['"', ',']).unwrap_or(rest.len());
                break rest[..end].to_owned();
            }
        };
        // Somebody has to read what it says, or it waits.
        std::thread::spawn(move || lines.for_each(drop));
        // Another test may have done so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .expect("a client");
        Self {
            process,
            host,
            http,
            password,
            _dir: dir,
        }
    }

    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        if self.password {
            request.basic_auth("user", Some(PASSWORD))
        } else {
            request
        }
    }

    async fn push_blob(&self, name: &str, content: &[u8]) -> Value {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(content)));
        let url = format!("http://{}/v2/{name}/blobs/uploads/", self.host);
        let started = self
            .request(reqwest::Method::POST, &url)
            .send()
            .await
            .expect("an answer");
        let location = started.headers()["location"].to_str().expect("text");
        let mut to = reqwest::Url::parse(&url)
            .expect("a URL")
            .join(location)
            .expect("a URL");
        to.query_pairs_mut().append_pair("digest", &digest);
        let put = self
            .request(reqwest::Method::PUT, to.as_str())
            .body(content.to_vec());
        let status = put.send().await.expect("an answer").status();
        assert_eq!(status, StatusCode::CREATED);
        json!({"digest": digest, "size": content.len()})
    }

    async fn push_manifest(&self, name: &str, tag: &str, manifest: &Value) -> (String, usize) {
        let body = serde_json::to_vec(manifest).expect("JSON");
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        let (url, len) = (
            format!("http://{}/v2/{name}/manifests/{tag}", self.host),
            body.len(),
        );
        let kind = manifest["mediaType"].as_str().expect("a type").to_owned();
        let put = self
            .request(reqwest::Method::PUT, &url)
            .header("Content-Type", kind)
            .body(body);
        let answer = put.send().await.expect("an answer");
        assert_eq!(
            answer.status(),
            StatusCode::CREATED,
            "{:?}",
            answer.text().await
        );
        (digest, len)
    }

    /// Pushes an image for the machine's platform, within an index that has another platform, too. Returns the index's digest.
    pub(crate) async fn push(
        &self,
        name: &str,
        tag: &str,
        layers: &[Vec<u8>],
        config: Value,
    ) -> String {
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in layers {
            diff_ids.push(format!("sha256:{}", hex::encode(Sha256::digest(layer))));
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(layer).expect("packed");
            let mut descriptor = self
                .push_blob(name, &packed.finish().expect("packed"))
                .await;
            descriptor["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
            descriptors.push(descriptor);
        }
        let (os, architecture) = (
            "linux",
            if cfg!(target_arch = "x86_64") {
                "amd64"
            } else {
                "arm64"
            },
        );
        let config = json!({
            "os": os, "architecture": architecture, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let mut config = self.push_blob(name, config.to_string().as_bytes()).await;
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": descriptors,
        });
        let (digest, size) = self
            .push_manifest(name, &format!("{tag}-only"), &manifest)
            .await;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"mediaType": kind, "digest": digest, "size": size, "platform": {"os": "linux", "architecture": "s390x"}},
                {"mediaType": kind, "digest": digest, "size": size, "platform": {"os": os, "architecture": architecture}},
            ],
        });
        self.push_manifest(name, tag, &index).await.0
    }

    /// Pushes [`busybox`] as `NAME:1`, and returns the name to use it by.
    pub(crate) async fn push_busybox(&self, name: &str, config: Value) -> String {
        self.push(name, "1", &[busybox()], config).await;
        format!("{}/{name}:1", self.host)
    }
}

/// Makes a layer of files and, where the content begins with `->`, links.
pub(crate) fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), files);
    pack(dir.path())
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        match content.strip_prefix("->") {
            Some(target) => std::os::unix::fs::symlink(target, path).expect("linked"),
            None => std::fs::write(path, content).expect("written"),
        }
    }
}

/// Packs a directory, whose files become root's.
fn pack(dir: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args([
        "--owner=0",
        "--group=0",
        "--sort=name",
        "--mtime=@1",
        "-cf",
        "-",
        ".",
    ])
    .current_dir(dir);
    let packed = tar.output().expect("tar");
    assert!(packed.status.success());
    packed.stdout
}

/// Makes a layer with a static busybox, a user `app`, and nothing else.
pub(crate) fn busybox() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1001::/home/app:/bin/sh\n";
    let group = "root:x:0:\napp:x:1001:\nextra:x:1002:app\n";
    write(
        root,
        &[
            ("etc/passwd", passwd),
            ("etc/group", group),
            ("root/.keep", ""),
            ("home/app/.keep", ""),
        ],
    );
    std::fs::create_dir(root.join("bin")).expect("made");
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("busybox, of the Debian package busybox-static");
    for name in [
        "sh", "cat", "id", "ls", "echo", "sleep", "nc", "httpd", "wget", "chown", "mkdir", "rm",
        "stat", "su", "mount", "grep", "ip", "nslookup", "env", "touch", "hostname", "tail",
        "true",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("linked");
    }
    pack(root)
}

/// How a gate misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Blobs have a wrong byte.
    Wrong,
    /// The first answer with a layer ends in its middle.
    Broken,
}

/// Stands before a registry, demands a token that is given for the password, and counts.
pub(crate) struct Gate {
    pub(crate) host: String,
    pub(crate) counts: Arc<Counts>,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) tokens: AtomicUsize,
    pub(crate) blobs: AtomicUsize,
    pub(crate) ranges: AtomicUsize,
}

#[derive(Clone)]
struct Behind {
    registry: String,
    host: String,
    fault: Fault,
    counts: Arc<Counts>,
    http: reqwest::Client,
}

impl Gate {
    pub(crate) async fn before(registry: &Registry, fault: Fault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let counts = Arc::<Counts>::default();
        let (registry, http) = (registry.host.clone(), registry.http.clone());
        let behind = Behind {
            registry,
            host: host.clone(),
            fault,
            counts: counts.clone(),
            http,
        };
        let routes = Router::new().fallback(answer).with_state(behind);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        TaskTracker::new().spawn(async move {
            axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await
        });
        Self {
            host,
            counts,
            _stop: stop.drop_guard(),
        }
    }
}

async fn answer(State(behind): State<Behind>, request: Request) -> Response {
    const TOKEN: &str = "Bearer the-token";
    let has = |headers: &HeaderMap, value: &str| {
        headers.get("authorization").is_some_and(|it| it == value)
    };
    let path = request.uri().path();
    if path == "/token" {
        let query = request.uri().query().unwrap_or_default();
        let right = query.contains("service=gate") && query.contains("scope=repository%3A");
        // user:secret
        return match right && has(request.headers(), "Basic dXNlcjpzZWNyZXQ=") {
            true => {
                behind.counts.tokens.fetch_add(1, Ordering::Relaxed);
                axum::Json(json!({"access_token": "the-token"})).into_response()
            }
            false => StatusCode::UNAUTHORIZED.into_response(),
        };
    }
    if !has(request.headers(), TOKEN) {
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"gate\"",
            behind.host
        );
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let mut forward = behind.http.get(format!("http://{}{path}", behind.registry));
    for name in ["accept", "range"] {
        if let Some(value) = request.headers().get(name) {
            forward = forward.header(name, value);
        }
    }
    let is_blob = path.contains("/blobs/");
    if is_blob && request.headers().contains_key("range") {
        behind.counts.ranges.fetch_add(1, Ordering::Relaxed);
    }
    let answer = forward.send().await.expect("the registry answers");
    let (status, kind) = (
        answer.status(),
        answer.headers().get("content-type").cloned(),
    );
    let mut body = answer.bytes().await.expect("a body").to_vec();
    let is_layer = is_blob && body.len() > 10_000;
    let first = is_layer && behind.counts.blobs.fetch_add(1, Ordering::Relaxed) == 0;
    let kind = [(
        "content-type",
        kind.map_or_else(String::new, |it| it.to_str().expect("text").to_owned()),
    )];
    match behind.fault {
        Fault::Wrong if is_layer => {
            let last = body.len() - 1;
            body[last] ^= 1;
        }
        Fault::Broken if first => {
            let half = axum::body::Bytes::from(body[..body.len() / 2].to_vec());
            let broken = std::io::Error::other("broken off");
            let pieces = futures_util::stream::iter([Ok(half), Err(broken)]);
            return (status, kind, Body::from_stream(pieces)).into_response();
        }
        _ => {}
    }
    (status, kind, body).into_response()
}
