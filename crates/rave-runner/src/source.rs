//! Writes the script that fetches the source with stock git.
//!
//! It runs in the job's own executor: a working copy may carry configuration, hooks and attributes that an earlier
//! job planted, and whatever git makes of them then happens where a job may do as it likes anyway. Configuration and
//! hooks are removed all the same, so that one job cannot meddle with the next.

use reqwest::Url;

use crate::script::quote;
use crate::variables::Variables;
use crate::wire;

/// How the working copy is brought to the job's commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Keep what is there and fetch what is new.
    Fetch,
    /// Start from nothing.
    Clone,
    /// Leave the directory as the last job left it.
    None,
    /// Give the job an empty directory.
    Empty,
}

impl Strategy {
    /// Reads `GIT_STRATEGY`. A server that allows no fetch gets a clone.
    pub(crate) fn of(variables: &Variables, allow_fetch: bool) -> Option<Self> {
        match variables.get("GIT_STRATEGY").trim() {
            "fetch" => Some(Self::Fetch),
            "clone" => Some(Self::Clone),
            "none" => Some(Self::None),
            "empty" => Some(Self::Empty),
            "" => Some(if allow_fetch {
                Self::Fetch
            } else {
                Self::Clone
            }),
            _ => None,
        }
    }

    /// Says whether the directory is emptied first.
    pub(crate) const fn starts_empty(self) -> bool {
        matches!(self, Self::Clone | Self::Empty)
    }
}

/// A repository's address, taken apart so that no credential is in an argument or on disk.
pub(crate) struct Remote {
    url: String,
    credentials: Option<Credentials>,
}

struct Credentials {
    origin: String,
    username: String,
    password: String,
}

impl Remote {
    pub(crate) fn parse(repo_url: &str) -> Self {
        let plain = || Self {
            url: repo_url.to_owned(),
            credentials: None,
        };
        let Ok(mut url) = Url::parse(repo_url) else {
            return plain();
        };
        let decode = |it: &str| percent_decode(it);
        let (username, password) = (decode(url.username()), url.password().map(decode));
        let Some(password) = password else {
            return plain();
        };
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return plain();
        }
        let origin = url.origin().ascii_serialization();
        Self {
            url: url.to_string(),
            credentials: Some(Credentials {
                origin,
                username,
                password,
            }),
        }
    }

    /// Returns the secret part, for the mask.
    pub(crate) fn password(&self) -> Option<&str> {
        self.credentials.as_ref().map(|it| it.password.as_str())
    }

    /// Returns the environment in which git finds the credentials, for this server only.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned())];
        let Some(credentials) = &self.credentials else {
            return environment;
        };
        let key = format!("credential.{}.helper", credentials.origin);
        let helper = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \
                      \"$RAVE_GIT_USERNAME\" \"$RAVE_GIT_PASSWORD\"; }; f";
        let pairs = [
            ("RAVE_GIT_USERNAME", credentials.username.as_str()),
            ("RAVE_GIT_PASSWORD", &credentials.password),
            ("GIT_CONFIG_COUNT", "2"),
            // An empty helper forgets those of the machine.
            ("GIT_CONFIG_KEY_0", &key),
            ("GIT_CONFIG_VALUE_0", ""),
            ("GIT_CONFIG_KEY_1", &key),
            ("GIT_CONFIG_VALUE_1", helper),
        ];
        environment.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        environment
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The job's commit is not one.
#[derive(Debug, thiserror::Error)]
#[error("the server names the commit {0:?}, which is not a hash")]
pub(crate) struct BadCommit(String);

/// Writes the commands, to be run in the project's directory.
pub(crate) fn commands(
    git: &wire::GitInfo,
    remote: &Remote,
    variables: &Variables,
    user_agent: &str,
) -> Result<String, BadCommit> {
    if git.sha.len() < 8 || !git.sha.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(BadCommit(git.sha.clone()));
    }
    let notice = |text: &str| {
        format!(
            "printf '%s\\n' {}\n",
            quote(&format!("\x1b[32;1m{text}\x1b[0;m"))
        )
    };
    let mut text = String::from(
        "command -v git > /dev/null || { echo 'git is not installed' >&2; exit 127; }\n",
    );
    text.push_str(&format!(
        "rave_git() {{ git {GIT_FLAGS} -c http.userAgent={} \"$@\"; }}\n",
        quote(user_agent)
    ));
    text.push_str(&match git.depth {
        1.. => notice(&format!(
            "Fetching changes with git depth set to {}...",
            git.depth
        )),
        _ => notice("Fetching changes..."),
    });
    text.push_str(CLEAN_GIT_DIR);
    let format = if git.repo_object_format == "sha256" {
        " --object-format=sha256"
    } else {
        ""
    };
    text.push_str(&format!("rave_git init --quiet --template=''{format}\n"));
    text.push_str(&format!(
        "if [ -n \"$rave_known\" ]; then echo 'Reinitialized existing Git repository'; else {}fi\n",
        notice("Created fresh repository.").replace('\n', "; ")
    ));
    text.push_str(&format!(
        "rave_git remote add origin {}\n",
        quote(&remote.url)
    ));
    text.push_str(&fetch(git, variables));
    if variables.get("GIT_CHECKOUT") != "false" {
        text.push_str(&notice(&format!(
            "Checking out {} as detached HEAD (ref is {})...",
            &git.sha[..8],
            git.reference
        )));
        text.push_str(&format!(
            // Large files come together afterwards, not one by one.
            "(export GIT_LFS_SKIP_SMUDGE=1; rave_git -c submodule.recurse=false checkout -f -q {})\n",
            git.sha
        ));
        text.push_str(&clean(variables));
        text.push_str(LFS);
        text.push_str(&submodules(variables));
    }
    Ok(text)
}

/// Hooks, monitors and external protocols that the working copy could name are off.
const GIT_FLAGS: &str = "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c protocol.ext.allow=never \
    -c init.defaultBranch=none -c fetch.recurseSubmodules=false -c credential.interactive=never -c gc.autoDetach=false";

const CLEAN_GIT_DIR: &str = "rave_known=\n\
    if [ -d .git ] && [ ! -L .git ]; then\n\
    rave_known=1\n\
    rm -rf .git/hooks .git/config .git/config.worktree .git/info\n\
    rm -f .git/config.lock .git/index.lock .git/shallow.lock .git/HEAD.lock .git/packed-refs.lock\n\
    find .git/refs -name '*.lock' -type f -exec rm -f {} + 2> /dev/null || :\n\
    find .git/modules -name config -type f -exec rm -f {} + 2> /dev/null || :\n\
    else rm -rf .git; fi\n";

const LFS: &str = "if [ \"${GIT_LFS_SKIP_SMUDGE:-}\" != 1 ] && git lfs version > /dev/null 2>&1; then \
    rave_git lfs pull; fi\n";

fn fetch(git: &wire::GitInfo, variables: &Variables) -> String {
    let extra = match variables.get("GIT_FETCH_EXTRA_FLAGS") {
        "" => "--prune --quiet",
        flags => flags,
    };
    let mut words: Vec<String> = extra.split_whitespace().map(quote).collect();
    words.extend(git.refspecs.iter().map(|it| quote(it)));
    let words = words.join(" ");
    match git.depth {
        1.. => format!(
            "rave_git fetch --no-recurse-submodules --depth {} origin {words}\n",
            git.depth
        ),
        _ => format!(
            "rave_unshallow=; if [ -f .git/shallow ]; then rave_unshallow=--unshallow; fi\n\
             rave_git fetch --no-recurse-submodules $rave_unshallow origin {words}\n"
        ),
    }
}

fn clean(variables: &Variables) -> String {
    match variables.get("GIT_CLEAN_FLAGS").trim() {
        "none" => String::new(),
        // Some tools leave directories that nobody may write, as Go does with its modules.
        "" => "rave_git clean -ffdx --quiet 2> /dev/null || \
               { chmod -R u+rwX . && rave_git clean -ffdx --quiet; }\n"
            .to_owned(),
        flags => format!(
            "rave_git clean {}\n",
            flags
                .split_whitespace()
                .map(quote)
                .collect::<Vec<_>>()
                .join(" ")
        ),
    }
}

fn submodules(variables: &Variables) -> String {
    let recursive = match variables.get("GIT_SUBMODULE_STRATEGY").trim() {
        "normal" => "",
        "recursive" => " --recursive",
        _ => return String::new(),
    };
    let depth = variables.get("GIT_SUBMODULE_DEPTH").trim().parse::<u32>();
    let depth = depth.map(|it| format!(" --depth {it}")).unwrap_or_default();
    let more = |key| {
        variables
            .get(key)
            .split_whitespace()
            .map(quote)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (flags, paths) = (
        more("GIT_SUBMODULE_UPDATE_FLAGS"),
        more("GIT_SUBMODULE_PATHS"),
    );
    format!(
        "printf '%s\\n' 'Updating/initializing submodules...'\n\
         rave_git submodule init {paths}\n\
         rave_git submodule sync{recursive} {paths}\n\
         rave_git submodule update --init{recursive}{depth} {flags} {paths}\n\
         rave_git submodule foreach{recursive} 'git clean -ffdx --quiet'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address() {
        let remote =
            Remote::parse("https://gitlab-ci-token:s%2Fcret@git.example:8443/team/app.git");
        assert_eq!(remote.url, "https://git.example:8443/team/app.git");
        assert_eq!(remote.password(), Some("s/cret"));
        let environment = remote.environment();
        let key = (
            "GIT_CONFIG_KEY_1".to_owned(),
            "credential.https://git.example:8443.helper".to_owned(),
        );
        assert!(environment.contains(&key), "{environment:?}");
        let plain = Remote::parse("file:///srv/app.git");
        assert_eq!(
            (plain.url.as_str(), plain.password()),
            ("file:///srv/app.git", None)
        );
    }

    #[test]
    fn no_secret_is_in_the_script_and_no_flag_hides_in_a_commit() {
        let mut git = wire::GitInfo {
            sha: "0123456789abcdef".to_owned(),
            reference: "it's".to_owned(),
            refspecs: vec!["+refs/pipelines/1:refs/pipelines/1".to_owned()],
            depth: 20,
            ..wire::GitInfo::default()
        };
        let remote = Remote::parse("http://gitlab-ci-token:topsecret@h/p.git");
        let text = commands(&git, &remote, &Variables::default(), "test").expect("a commit");
        assert!(!text.contains("topsecret"), "{text}");
        assert!(
            text.contains(
                "--depth 20 origin '--prune' '--quiet' '+refs/pipelines/1:refs/pipelines/1'"
            ),
            "{text}"
        );
        git.sha = "--upload-pack=x".to_owned();
        assert!(commands(&git, &remote, &Variables::default(), "test").is_err());
    }

    #[test]
    fn the_strategy_is_read() {
        let mut variables = Variables::default();
        assert_eq!(Strategy::of(&variables, false), Some(Strategy::Clone));
        variables.set("GIT_STRATEGY", "empty");
        assert_eq!(Strategy::of(&variables, true), Some(Strategy::Empty));
        variables.set("GIT_STRATEGY", "guess");
        assert_eq!(Strategy::of(&variables, true), None);
    }
}
