//! A client of the Docker Engine API (version 1.41), as Docker and Podman serve it on a socket.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::stream::Attached;
use crate::client::chain;

/// The version whose shapes are spoken. Docker has it since 20.10, Podman since 3.
const API: &str = "v1.41";
/// The longest answer that is read, but for logs and streams.
const LONGEST_ANSWER: usize = 4 << 20;
/// How long an ordinary call may take. Removing a container waits for its end.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A container engine.
#[derive(Clone, Debug)]
pub(in crate::exec) struct Engine {
    http: reqwest::Client,
    base: Url,
    /// How the address was given, for messages.
    host: String,
}

/// The engine did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(in crate::exec) enum EngineError {
    #[error(
        "the container engine's address {0:?} is not unix:///PATH, tcp://HOST:PORT or http://HOST:PORT"
    )]
    Address(String),
    #[error("cannot talk to the container engine at {host}: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("the container engine cannot {what}: {message} (status {status})")]
    Refused {
        what: String,
        status: StatusCode,
        message: String,
    },
    #[error("the container engine's answer to \"{what}\" makes no sense: {reason}")]
    Nonsense { what: String, reason: String },
}

impl EngineError {
    /// Whether the engine does not have what was asked for.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// What an image says about the containers made of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageConfig {
    #[serde(deserialize_with = "crate::wire::or_default")]
    pub(super) exposed_ports: std::collections::BTreeMap<String, Value>,
    /// Who its processes are of; empty for root.
    #[serde(deserialize_with = "crate::wire::or_default")]
    pub(super) user: String,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) running: bool,
    /// Whether the kernel killed in it for want of memory.
    pub(super) out_of_memory: bool,
    pub(super) exit_code: i32,
    /// Its addresses in the networks that it is in.
    pub(super) addresses: Vec<String>,
}

impl Engine {
    /// Takes the address of an engine as `DOCKER_HOST` has it.
    ///
    /// # Errors
    /// When it is none, or HTTP cannot be set up.
    pub(in crate::exec) fn new(host: &str) -> Result<Self, EngineError> {
        let bad = || EngineError::Address(host.to_owned());
        // The client asks for one even where it never speaks TLS. A provider may be installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([])
            .connect_timeout(Duration::from_secs(10))
            // Attached streams and waits last as long as the job.
            .redirect(reqwest::redirect::Policy::none());
        let base = match host.split_once("://") {
            Some(("unix", path)) if Path::new(path).is_absolute() => {
                builder = builder.unix_socket(Path::new(path));
                "http://engine".to_owned()
            }
            Some(("tcp" | "http", address)) => format!("http://{address}"),
            _ => return Err(bad()),
        };
        let base = base.trim_end_matches('/');
        Ok(Self {
            http: builder.build().map_err(|error| EngineError::Unreachable {
                host: host.to_owned(),
                reason: chain(&error),
            })?,
            base: Url::parse(&format!("{base}/{API}/")).map_err(|_| bad())?,
            host: host.to_owned(),
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // The paths are ours; what comes from outside is put in as parameters or is an id.
        let url = self.base.join(path).unwrap_or_else(|_| self.base.clone());
        self.http.request(method, url)
    }

    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, EngineError> {
        let response = request
            .send()
            .await
            .map_err(|error| EngineError::Unreachable {
                host: self.host.clone(),
                reason: chain(&error),
            })?;
        let status = response.status();
        if status.is_success()
            || status == StatusCode::SWITCHING_PROTOCOLS
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(response);
        }
        let body = read(response).await.unwrap_or_default();
        let message = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|it| it["message"].as_str().map(str::to_owned))
            .unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
        Err(EngineError::Refused {
            what: what.to_owned(),
            status,
            message,
        })
    }

    async fn json(&self, what: &str, request: RequestBuilder) -> Result<Value, EngineError> {
        let response = self.send(what, request.timeout(CALL_TIMEOUT)).await?;
        let nonsense = |reason: String| EngineError::Nonsense {
            what: what.to_owned(),
            reason,
        };
        let body = read(response).await.map_err(nonsense)?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| nonsense(error.to_string()))
    }

    /// Returns the engine's name and version, for the log.
    pub(in crate::exec) async fn version(&self) -> Result<String, EngineError> {
        let what = "tell its version";
        let found = self
            .json(what, self.request(Method::GET, "version"))
            .await?;
        let first = &found["Components"][0];
        let name = first["Name"].as_str().unwrap_or("Engine");
        let version = found["Version"].as_str().or(first["Version"].as_str());
        Ok(format!(
            "{name} {}",
            version.unwrap_or("of unknown version")
        ))
    }

    /// Returns what an image says, `None` when the engine does not have it.
    pub(super) async fn image(&self, name: &str) -> Result<Option<ImageConfig>, EngineError> {
        let what = format!("look at the image {name}");
        let request = self.request(Method::GET, &format!("images/{}/json", encode(name)));
        match self.json(&what, request).await {
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
            Ok(found) => serde_json::from_value(found["Config"].clone())
                .map(Some)
                .map_err(|error| EngineError::Nonsense {
                    what,
                    reason: error.to_string(),
                }),
        }
    }

    /// Pulls an image. `auth` is the value of `X-Registry-Auth`.
    pub(super) async fn pull(
        &self,
        name: &str,
        platform: &str,
        auth: Option<&str>,
    ) -> Result<(), EngineError> {
        let what = format!("pull the image {name}");
        let mut request = self
            .request(Method::POST, "images/create")
            .query(&[("fromImage", name)]);
        if !platform.is_empty() {
            request = request.query(&[("platform", platform)]);
        }
        if let Some(auth) = auth {
            request = request.header("X-Registry-Auth", auth);
        }
        let mut body = self.send(&what, request).await?.bytes_stream();
        // Progress as JSON, one object per line; an error is told in the last, after the status said that all is well.
        let (mut line, mut failure) = (Vec::new(), None);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| EngineError::Unreachable {
                host: self.host.clone(),
                reason: chain(&error),
            })?;
            for byte in piece {
                if byte == b'\n' {
                    failure = error_of(&line).or(failure);
                    line.clear();
                } else if line.len() < LONGEST_ANSWER {
                    line.push(byte);
                }
            }
        }
        match error_of(&line).or(failure) {
            None => Ok(()),
            Some(message) => Err(EngineError::Refused {
                what,
                status: StatusCode::OK,
                message,
            }),
        }
    }

    /// Makes a container and returns its id.
    pub(super) async fn create(&self, name: &str, spec: &Value) -> Result<String, EngineError> {
        let what = format!("make the container {name}");
        let request = self
            .request(Method::POST, "containers/create")
            .query(&[("name", name)])
            .json(spec);
        let made = self.json(&what, request).await?;
        id_of(&what, &made)
    }

    /// Attaches to a container that is not running yet: what is written is its standard input, what is read its output.
    pub(super) async fn attach(&self, id: &str) -> Result<Attached, EngineError> {
        let what = "attach to a container";
        let path = format!("containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
        let request = self
            .request(Method::POST, &path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "tcp");
        let response = self.send(what, request).await?;
        let upgraded = response
            .upgrade()
            .await
            .map_err(|error| EngineError::Nonsense {
                what: what.to_owned(),
                reason: chain(&error),
            })?;
        Ok(Attached::new(upgraded))
    }

    /// Starts a container.
    pub(super) async fn start(&self, id: &str) -> Result<(), EngineError> {
        let request = self.request(Method::POST, &format!("containers/{id}/start"));
        self.send("start a container", request.timeout(CALL_TIMEOUT))
            .await
            .map(drop)
    }

    /// Waits until a container that was started has ended, and returns its exit status.
    pub(super) async fn wait(&self, id: &str) -> Result<i32, EngineError> {
        let what = "wait for a container";
        let path = format!("containers/{id}/wait?condition=not-running");
        let response = self.send(what, self.request(Method::POST, &path)).await?;
        let nonsense = |reason: String| EngineError::Nonsense {
            what: what.to_owned(),
            reason,
        };
        let body = read(response).await.map_err(nonsense)?;
        let said: Value =
            serde_json::from_slice(&body).map_err(|error| nonsense(error.to_string()))?;
        let code = said["StatusCode"]
            .as_i64()
            .and_then(|it| i32::try_from(it).ok());
        code.ok_or_else(|| nonsense("it has no status".to_owned()))
    }

    /// Looks at a container.
    pub(super) async fn status(&self, id: &str) -> Result<Status, EngineError> {
        let request = self.request(Method::GET, &format!("containers/{id}/json"));
        let found = self.json("look at a container", request).await?;
        Ok(status_of(&found))
    }

    /// Sends a signal to the first process of a container. One that has ended already is as good.
    pub(super) async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let path = format!("containers/{id}/kill?signal={signal}");
        let what = "signal a container";
        match self.json(what, self.request(Method::POST, &path)).await {
            Err(EngineError::Refused { status, .. })
                if status == StatusCode::CONFLICT || status == StatusCode::NOT_FOUND =>
            {
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// Asks every process of a container but the first to end.
    pub(super) async fn terminate_all(&self, id: &str) -> Result<(), EngineError> {
        let what = "run a command in a container";
        let spec = json!({"Cmd": ["sh", "-c", "kill -TERM -1"], "User": "0"});
        let request = self.request(Method::POST, &format!("containers/{id}/exec"));
        let made = self.json(what, request.json(&spec)).await?;
        let path = format!("exec/{}/start", id_of(what, &made)?);
        let request = self
            .request(Method::POST, &path)
            .json(&json!({"Detach": true}));
        self.json(what, request).await.map(drop)
    }

    /// Ends and removes a container with its anonymous volumes. One that is gone already is as good.
    pub(super) async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("containers/{id}?force=true&v=true");
        let removed = self
            .json("remove a container", self.request(Method::DELETE, &path))
            .await;
        match removed {
            Err(error) if error.is_absent() => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Lists the containers and networks that carry a label, by id and by name.
    pub(super) async fn labelled(
        &self,
        label: &str,
    ) -> Result<(Vec<String>, Vec<String>), EngineError> {
        let filters = json!({"label": [label]}).to_string();
        let list = |path: &'static str, key: &'static str| {
            let request = self
                .request(Method::GET, path)
                .query(&[("filters", filters.as_str())]);
            async move {
                let found = self.json("list what it has", request).await?;
                let entries = found.as_array().into_iter().flatten();
                Ok::<_, EngineError>(
                    entries
                        .filter_map(|it| it[key].as_str().map(str::to_owned))
                        .collect::<Vec<_>>(),
                )
            }
        };
        Ok((
            list("containers/json?all=true", "Id").await?,
            list("networks", "Name").await?,
        ))
    }

    /// Makes a network of its own for a job.
    pub(super) async fn create_network(
        &self,
        name: &str,
        labels: &Value,
    ) -> Result<(), EngineError> {
        let spec = json!({"Name": name, "CheckDuplicate": true, "Labels": labels});
        let request = self.request(Method::POST, "networks/create").json(&spec);
        self.json(&format!("make the network {name}"), request)
            .await
            .map(drop)
    }

    /// Removes a network. One that is gone already is as good.
    pub(super) async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let request = self.request(Method::DELETE, &format!("networks/{}", encode(name)));
        match self.json("remove a network", request).await {
            Err(error) if error.is_absent() => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Returns the last lines that a container printed.
    pub(super) async fn last_lines(&self, id: &str, lines: u32) -> Result<Vec<u8>, EngineError> {
        let what = "read a container's log";
        let path = format!("containers/{id}/logs?stdout=1&stderr=1&tail={lines}");
        let request = self.request(Method::GET, &path).timeout(CALL_TIMEOUT);
        let response = self.send(what, request).await?;
        let body = read(response)
            .await
            .map_err(|reason| EngineError::Nonsense {
                what: what.to_owned(),
                reason,
            })?;
        Ok(super::stream::unwrap_frames(&body))
    }
}

/// Reads an answer whole, as far as it is not too long.
async fn read(response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(|error| chain(&error))?);
        if body.len() > LONGEST_ANSWER {
            return Err("it is too long".to_owned());
        }
    }
    Ok(body)
}

/// Escapes what stands in a path. Names of images have slashes, which the engine takes as they are.
fn encode(name: &str) -> String {
    let plain = |it: &u8| it.is_ascii_alphanumeric() || b"-._~/:@".contains(it);
    name.bytes()
        .map(|it| match plain(&it) {
            true => char::from(it).to_string(),
            false => format!("%{it:02X}"),
        })
        .collect()
}

fn error_of(line: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(line).ok()?;
    said["error"].as_str().map(str::to_owned)
}

fn id_of(what: &str, made: &Value) -> Result<String, EngineError> {
    let id = made["Id"].as_str().unwrap_or_default();
    if id.is_empty() || !id.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return Err(EngineError::Nonsense {
            what: what.to_owned(),
            reason: "it has no id".to_owned(),
        });
    }
    Ok(id.to_owned())
}

fn status_of(found: &Value) -> Status {
    let (state, networks) = (&found["State"], &found["NetworkSettings"]);
    let own = networks["IPAddress"].as_str();
    let others = networks["Networks"].as_object().into_iter().flatten();
    let others = others.filter_map(|(_, it)| it["IPAddress"].as_str());
    let mut addresses: Vec<String> = own
        .into_iter()
        .chain(others)
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    addresses.dedup();
    Status {
        running: state["Running"].as_bool().unwrap_or(false),
        out_of_memory: state["OOMKilled"].as_bool().unwrap_or(false),
        exit_code: state["ExitCode"]
            .as_i64()
            .and_then(|it| i32::try_from(it).ok())
            .unwrap_or(-1),
        addresses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_docker_host() {
        for good in [
            "unix:///run/podman/podman.sock",
            "tcp://127.0.0.1:2375",
            "http://engine:80/",
        ] {
            assert!(Engine::new(good).is_ok(), "{good}");
        }
        for bad in ["", "unix://relative.sock", "/run/docker.sock", "ssh://host"] {
            let error = Engine::new(bad).expect_err(bad);
            assert!(matches!(error, EngineError::Address(_)), "{error}");
        }
    }

    #[test]
    fn names_of_images_stay_in_their_path() {
        assert_eq!(
            encode("reg:5000/a/b:1@sha256:0f"),
            "reg:5000/a/b:1@sha256:0f"
        );
        assert_eq!(encode("a?b#c%"), "a%3Fb%23c%25");
    }

    #[test]
    fn a_pull_fails_by_its_last_lines() {
        assert_eq!(error_of(br#"{"status":"Pulling"}"#), None);
        assert_eq!(
            error_of(br#"{"error":"no such image"}"#).as_deref(),
            Some("no such image")
        );
        assert_eq!(error_of(b""), None);
    }

    #[test]
    fn a_container_has_the_addresses_of_all_its_networks() {
        let found = json!({"State": {"Running": true, "ExitCode": 0, "OOMKilled": false},
            "NetworkSettings": {"IPAddress": "", "Networks": {"job": {"IPAddress": "10.88.0.4"}}}});
        let status = status_of(&found);
        assert!(status.running && !status.out_of_memory);
        assert_eq!(status.addresses, ["10.88.0.4"]);
    }
}
