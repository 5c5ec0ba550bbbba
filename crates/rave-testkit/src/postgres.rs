//! A real PostgreSQL server for tests: started, stopped like a crash, started again, and never left behind.

use std::{
    ffi::OsStr,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where Debian keeps the servers, one directory per version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Waits for the end of the test process, however it comes, then stops the server and removes its files.
const GUARD: &str = r#"
    cat >/dev/null
    "$1/pg_ctl" stop -s -m immediate -D "$2/data" >/dev/null 2>&1
    rm -rf "$2"
"#;

/// A PostgreSQL server that listens on a socket in a directory of its own.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    directory: PathBuf,
    account: Option<Account>,
    /// Holds the other end of the guard's input.
    guard: Child,
    databases: AtomicU32,
}

/// The user to run as: PostgreSQL refuses root.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

impl PostgresServer {
    /// Makes and starts a server.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let programs = installed();
        let directory = tempfile::Builder::new()
            .prefix("rave-pg-")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        let account = account(&directory);
        if let Some(Account { uid, gid }) = account {
            chown(&directory, Some(uid), Some(gid)).expect("root gives its directory away");
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&directory, mode).expect("the directory is ours");
        let mut guard = Command::new("sh");
        guard
            .arg("-c")
            .arg(GUARD)
            .arg("guard")
            .arg(&programs)
            .arg(&directory)
            .stdin(Stdio::piped());
        // A group of its own: Ctrl-C in a terminal must reach the guard only as the end of its input.
        let guard = as_account(&mut guard, account)
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let server = Self {
            programs,
            directory,
            account,
            guard,
            databases: AtomicU32::new(0),
        };
        let data = server.directory.join("data");
        let made = [
            "--auth=trust",
            "--username=rave",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ];
        server.run(
            "initdb",
            made.iter().map(OsStr::new).chain([data.as_os_str()]),
        );
        server.resume();
        server
    }

    /// Returns a server that all tests of this process share. Such a test never stops it.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Makes an empty database and returns its address.
    ///
    /// # Panics
    ///
    /// When the server does not run.
    #[must_use]
    pub fn create_database(&self) -> String {
        let name = format!("rave_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        let directory = self.directory.display();
        self.run(
            "createdb",
            ["-U", "rave", "-h", &directory.to_string(), &name].map(OsStr::new),
        );
        format!("postgresql:///{name}?host={directory}&user=rave")
    }

    /// Stops the server as a crash would: connections break, nothing is tidied up.
    pub fn crash(&self) {
        self.run(
            "pg_ctl",
            ["stop", "-s", "-w", "-m", "immediate", "-D", &self.data()].map(OsStr::new),
        );
    }

    /// Starts the server again after [`crash`](Self::crash) and waits until it answers.
    pub fn resume(&self) {
        let directory = self.directory.display();
        let settings = format!(
            "-k {directory} -c listen_addresses='' -c fsync=off -c max_connections=300 -c shared_buffers=16MB"
        );
        let log = self.directory.join("log").display().to_string();
        self.run(
            "pg_ctl",
            [
                "start",
                "-s",
                "-w",
                "-D",
                &self.data(),
                "-l",
                &log,
                "-o",
                &settings,
            ]
            .map(OsStr::new),
        );
    }

    fn data(&self) -> String {
        self.directory.join("data").display().to_string()
    }

    fn run<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a OsStr>) {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        // The server inherits what `pg_ctl` has, so a pipe here would never end.
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        let status = as_account(&mut command, self.account)
            .status()
            .expect("the program starts");
        assert!(status.success(), "{program} failed: {status}");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard ends by itself; waiting only spares a zombie.
        let _ = self.guard.wait();
    }
}

/// Returns the directory with the newest installed server's programs.
fn installed() -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let version = |path: &Path| {
        path.file_name()
            .and_then(OsStr::to_str)
            .and_then(|it| it.parse::<u32>().ok())
    };
    versions
        .map(|it| it.path())
        .filter(|it| it.join("bin/initdb").exists())
        .max_by_key(|it| version(it))
        .map(|it| it.join("bin"))
        .expect("PostgreSQL is not installed: apt-get install postgresql")
}

/// Returns the account to run as, when this process is root.
fn account(directory: &Path) -> Option<Account> {
    let owner = directory.metadata().expect("the directory exists").uid();
    if owner != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("the system lists its users");
    let fields = users
        .lines()
        .map(|it| it.split(':').collect::<Vec<_>>())
        .find(|it| it[0] == "postgres");
    let number = |at: usize| fields.as_ref().and_then(|it| it.get(at)?.parse().ok());
    let (uid, gid) = number(2)
        .zip(number(3))
        .expect("the package makes the user `postgres`");
    Some(Account { uid, gid })
}

fn as_account(command: &mut Command, account: Option<Account>) -> &mut Command {
    match account {
        Some(Account { uid, gid }) => command.uid(uid).gid(gid),
        None => command,
    }
}
