//! Services of jobs, and the networks that they need.

use std::net::Ipv4Addr;

use rave_runner::Network;
use serde_json::json;

use crate::registry::Registry;
use crate::{Bench, as_ordinary_user, gone, job, sandbox};

/// Runs a job in an image with two services on the same port.
async fn check_services(dir: &str) {
    let registry = Registry::start();
    let config = json!({"ExposedPorts": {"80/tcp": {}}, "Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"], "Env": ["WWW=/www"]});
    let name = registry.push_busybox("app", config).await;
    let bench = Bench::start(|config| sandbox(config, |it| it.network = Network::None)).await;
    let page = |text: &str| {
        json!([
            "sh",
            "-c",
            format!(
                "mkdir {dir}; echo {text} of $OWNER > {dir}/index.html; exec httpd -f -p 80 -h {dir}"
            )
        ])
    };
    let mut with = job(
        1,
        &[
            "wget -q -O - http://one/",
            "wget -q -O - http://uno/",
            "wget -q -O - http://two/",
            "grep -c two /etc/hosts",
            "hostname",
            "! wget -q -T 2 -O - http://three/",
        ],
    );
    with["image"] = json!({"name": name});
    let own = |value: &str| json!([{"key": "OWNER", "value": value}]);
    with["services"] = json!([
        {"name": name, "alias": "one, uno", "command": page("first"), "variables": own("a")},
        {"name": name, "alias": "two one", "command": page("second"), "variables": own("b")},
    ]);
    let done = bench.run(with).await;
    let log = done.log();
    assert_eq!(done.status, "success", "{log}");
    for line in ["\nfirst of a\n\x1b", "\nsecond of b\n"] {
        assert!(log.contains(line), "{line:?}: {log}");
    }
    assert_eq!(log.matches("\nfirst of a\n").count(), 2, "{log}");
    assert!(!log.contains("does not answer"), "{log}");
    // A job without an image reaches them, too.
    let mut without = job(
        2,
        &["python3 -c \"import urllib.request as u; print(u.urlopen('http://web').read())\""],
    );
    without["services"] = json!([{"name": name, "alias": "web", "command": page("third")}]);
    let done = bench.run(without).await;
    assert!(done.log().contains("third of"), "{}", done.log());
    gone(dir).await;
    assert!(!bench.dir.path().join("data/builds/0/.image").exists());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_reached_by_their_names() {
    check_services("/www-of-root").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_has_services_too() {
    if as_ordinary_user("services::an_ordinary_user_has_services_too") {
        check_services("/www-of-nobody").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_answer_is_shown_and_forgiven() {
    let registry = Registry::start();
    let name = registry
        .push_busybox("app", json!({"ExposedPorts": {"5432/tcp": {}}}))
        .await;
    let bench = Bench::start(|_| {}).await;
    let mut broken = job(1, &["echo went on"]);
    broken["services"] = json!([
        {"name": name, "alias": "db", "command": ["sh", "-c", "echo cannot start: $REASON; exit 1"], "variables": [{"key": "REASON", "value": "no disk"}]},
        {"name": name, "alias": "loud", "command": ["sh", "-c", "echo listening; exec nc -ll -p 70 -e cat"], "variables": [{"key": "HEALTHCHECK_TCP_PORT", "value": "70"}]},
    ]);
    broken["variables"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"key": "CI_DEBUG_SERVICES", "value": "true"}));
    let done = bench.run(broken).await;
    let log = done.log();
    assert!(
        log.contains("has ended") && log.contains("  cannot start: no disk"),
        "{log}"
    );
    assert!(
        log.contains("\nwent on\n") && done.status == "success",
        "{log}"
    );
    assert!(log.contains("[service:loud] listening"), "{log}");
    let mut absent = job(2, &["echo unreachable"]);
    absent["services"] = json!([{"name": format!("{}/absent:1", registry.host)}]);
    absent["features"]["failure_reasons"] = json!(["image_pull_failure"]);
    let done = bench.run(absent).await;
    assert_eq!(
        done.result["failure_reason"],
        "image_pull_failure",
        "{}",
        done.log()
    );
    bench.stop().await;
}

/// Answers whether an address is one that a job's own network has: tests run side by side, and the machine's end of another
/// job's network comes and goes.
fn of_a_job(address: Ipv4Addr) -> bool {
    address.octets()[..2] == [10, 231]
}

/// A server on an address of the machine that is neither its loopback's nor of another job's network.
fn server() -> (std::net::TcpListener, Option<Ipv4Addr>) {
    let table = std::fs::read_to_string("/proc/net/fib_trie").expect("the table of routes");
    let mut last = None;
    let mut own = None;
    for line in table.lines() {
        match line.split_once("|-- ") {
            Some((_, address)) => last = address.trim().parse::<Ipv4Addr>().ok(),
            None if line.contains("/32 host LOCAL") => {
                own = own.or(last.filter(|it| !it.is_loopback() && !of_a_job(*it)))
            }
            None => {}
        }
    }
    (
        std::net::TcpListener::bind("0.0.0.0:0").expect("a free port"),
        own,
    )
}

/// Tries what a job with a network of its own reaches of the machine.
async fn check_own(private_addresses: bool) -> String {
    let (server, own) = server();
    let port = server.local_addr().expect("an address").port();
    let bench = Bench::start(|config| {
        sandbox(config, |it| {
            (it.network, it.private_addresses) = (Network::Own, private_addresses)
        });
    })
    .await;
    let connect = |name: &str, address: &str| {
        format!(
            "python3 -c \"import socket\ntry:\n  socket.create_connection(('{address}', {port}), 3); print('{name}: reached')\nexcept OSError as e:\n  print('{name}:', e.strerror)\""
        )
    };
    let own = own.expect("the machine has an address").to_string();
    let script = [
        connect("loopback", "127.0.0.1"),
        connect("machine", &own),
        connect("private", "10.231.255.1"),
        connect("metadata", "169.254.169.254"),
        connect("gateway", "10.0.2.2"),
        "ip -brief link | cut -d' ' -f1 | cut -d@ -f1 | xargs echo devices:".to_owned(),
        "ip route".to_owned(),
    ];
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let done = bench.run(job(1, &script)).await;
    assert_eq!(done.status, "success", "{}", done.log());
    bench.stop().await;
    done.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_its_own_leads_to_the_world_and_not_to_the_machine() {
    let log = check_own(false).await;
    for line in [
        "loopback: Connection refused",
        "machine: Permission denied",
        "private: Permission denied",
        "metadata: Permission denied",
    ] {
        assert!(log.contains(&format!("\n{line}\n")), "{line}: {log}");
    }
    assert!(log.contains("default via 10."), "{log}");
    if nix::unistd::geteuid().is_root() {
        let log = check_own(true).await;
        assert!(
            log.contains("\nmachine: reached\n")
                && log.contains("\nloopback: Connection refused\n"),
            "{log}"
        );
        assert!(log.contains("devices: lo br0 up0\n"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_has_a_network_of_its_own_by_slirp() {
    if as_ordinary_user("services::an_ordinary_user_has_a_network_of_its_own_by_slirp") {
        let log = check_own(false).await;
        for line in [
            "loopback: Connection refused",
            "machine: Permission denied",
            "metadata: Permission denied",
        ] {
            assert!(log.contains(&format!("\n{line}\n")), "{line}: {log}");
        }
        assert!(
            log.contains("default via 10.0.2.2")
                && !log.contains(
                    "
gateway: reached"
                ),
            "{log}"
        );
        let log = check_own(true).await;
        assert!(log.contains("\nmachine: reached\n"), "{log}");
    }
}

/// A network outside of the machine, with a server that says who called.
struct Outside {
    name: String,
    server: std::process::Child,
}

impl Outside {
    const ADDRESS: &str = "198.51.100.2";

    fn make() -> Self {
        let name = format!("rave-test-{}", std::process::id());
        let run = |line: &str| {
            let status = std::process::Command::new("ip")
                .args(line.split(' '))
                .status();
            assert!(
                status
                    .expect("ip, of the Debian package iproute2")
                    .success(),
                "{line}"
            );
        };
        run(&format!("netns add {name}"));
        run(&format!(
            "link add rvt{} type veth peer name eth0 netns {name}",
            std::process::id()
        ));
        run(&format!(
            "addr add 198.51.100.1/24 dev rvt{}",
            std::process::id()
        ));
        run(&format!("link set rvt{} up", std::process::id()));
        run(&format!("-n {name} addr add {}/24 dev eth0", Self::ADDRESS));
        run(&format!("-n {name} link set eth0 up"));
        let program = "import socket\ns = socket.create_server(('', 80))\nprint('listening', flush=True)\n\
                       while True:\n  c, a = s.accept(); c.sendall(a[0].encode()); c.close()";
        let mut server = std::process::Command::new("ip");
        server
            .args(["netns", "exec", &name, "python3", "-c", program])
            .stdout(std::process::Stdio::piped());
        let mut server = server.spawn().expect("started");
        let mut line = String::new();
        let out = server.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
        Self { name, server }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::process::Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        let _ = std::process::Command::new("ip")
            .args(["link", "del", &format!("rvt{}", std::process::id())])
            .status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_world_sees_the_machines_address() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let _outside = Outside::make();
    let registry = Registry::start();
    let name = registry.push_busybox("app", json!({})).await;
    let bench = Bench::start(|config| sandbox(config, |it| it.network = Network::Own)).await;
    let ask = format!("nc {} 80 < /dev/null", Outside::ADDRESS);
    let mut asking = job(
        1,
        &[&format!("echo \"job: $({ask})\""), "nc gate 70 < /dev/null"],
    );
    asking["image"] = json!({"name": name});
    let serve = format!("exec nc -ll -p 70 -e sh -c 'echo \"service: $({ask})\"'");
    asking["services"] = json!([{"name": name, "alias": "gate", "command": ["sh", "-c", serve], "variables": [{"key": "HEALTHCHECK_TCP_PORT", "value": "70"}]}]);
    let done = bench.run(asking).await;
    for line in ["\njob: 198.51.100.1\n", "\nservice: 198.51.100.1\n"] {
        assert!(done.log().contains(line), "{line}: {}", done.log());
    }
    bench.stop().await;
}
