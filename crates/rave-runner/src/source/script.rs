//! Writes the commands that make a working copy of a repository, or bring one up to date.

use super::Remote;
use super::store::Fetched;
use crate::script::quote;
use crate::variables::Variables;
use crate::wire;

/// The job's commit is not one.
#[derive(Debug, thiserror::Error)]
#[error("the server names the commit {0:?}, which is not a hash")]
pub(crate) struct BadCommit(String);

/// Where the objects of the job's commit come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objects {
    /// From the server.
    Server,
    /// They are in place already, with the refs: [`super::store`] put them there.
    InPlace {
        /// Whether there was a working copy before.
        known: bool,
    },
}

/// Writes the commands, to be run in the project's directory.
pub(crate) fn commands(
    git: &wire::GitInfo,
    remote: &Remote,
    variables: &Variables,
    user_agent: &str,
    objects: Objects,
) -> Result<String, BadCommit> {
    check_commit(git)?;
    let mut text = prologue(user_agent);
    text.push_str(&match git.depth {
        1.. => notice(&format!(
            "Fetching changes with git depth set to {}...",
            git.depth
        )),
        _ => notice("Fetching changes..."),
    });
    text.push_str(match objects {
        Objects::Server => CLEAN_GIT_DIR,
        Objects::InPlace { known: true } => "rave_known=1\n",
        Objects::InPlace { known: false } => "rave_known=\n",
    });
    text.push_str(CLEAN_MODULES);
    text.push_str(&init(git, ""));
    text.push_str(&format!(
        "if [ -n \"$rave_known\" ]; then echo 'Reinitialized existing Git repository'; else {}fi\n",
        notice("Created fresh repository.").replace('\n', "; ")
    ));
    text.push_str(&format!(
        "rave_git remote add origin {}\n",
        quote(&remote.url)
    ));
    if objects == Objects::Server {
        text.push_str(FORGET_REPLACEMENTS);
        text.push_str(&fetch(git, variables));
    }
    if variables.get("GIT_CHECKOUT") == "false" {
        text.push_str(&notice("Skipping Git checkout"));
        return Ok(text);
    }
    text.push_str(&notice(&format!(
        "Checking out {} as detached HEAD (ref is {})...",
        &git.sha[..8],
        git.reference
    )));
    // Large files come together afterwards, not one by one here.
    text.push_str(&format!(
        "(export GIT_LFS_SKIP_SMUDGE=1; rave_git -c submodule.recurse=false checkout -f -q {})\n",
        git.sha
    ));
    text.push_str(&clean(variables));
    let with_lfs = !variables.is_on("GIT_LFS_SKIP_SMUDGE");
    if with_lfs {
        text.push_str(LFS);
    }
    text.push_str(&submodules(variables, with_lfs));
    Ok(text)
}

/// Writes the commands that fetch into a bare repository which working copies are made from: its objects as packs, and beside
/// them what a working copy of this commit has as refs.
///
/// None of the job's variables is in reach of these commands: what they store is used by jobs that may do more than this one.
pub(super) fn store_commands(
    git: &wire::GitInfo,
    remote: &Remote,
    user_agent: &str,
    into: &Fetched,
) -> Result<String, BadCommit> {
    check_commit(git)?;
    let mut text = prologue(user_agent);
    text.push_str(&init(git, " --bare"));
    text.push_str(CLEAN_STORE);
    let depth = match git.depth {
        1.. => format!("--depth {} ", git.depth),
        _ => String::new(),
    };
    let wanted: Vec<(String, String)> = git
        .refspecs
        .iter()
        .filter_map(|it| into.mapped(it))
        .collect();
    let words: Vec<String> = wanted.iter().map(|it| quote(&it.0)).collect();
    text.push_str(&format!(
        "rave_git -c gc.auto=0 -c maintenance.auto=false -c fetch.unpackLimit=1 fetch --quiet --prune --force \
         --no-recurse-submodules --no-write-fetch-head {depth}{} {}\n",
        quote(&remote.url),
        words.join(" ")
    ));
    text.push_str(&format!("rave_git cat-file -e '{}^{{commit}}'\n", git.sha));
    let new = quote(&format!("{}.new", into.directory()));
    text.push_str(&format!("mkdir -p {new}\n: > {new}/packed-refs\n"));
    for (_, list) in &wanted {
        text.push_str(&format!("{list} >> {new}/packed-refs\n"));
    }
    text.push_str(&format!(
        "rave_git for-each-ref --format='%(objectname) %(refname)' refs/tags >> {new}/packed-refs\n\
         if [ -f shallow ]; then cp shallow {new}/shallow; fi\n\
         rm -rf {at}\nmv {new} {at}\n",
        at = quote(&into.directory())
    ));
    text.push_str(TEND_STORE);
    Ok(text)
}

fn check_commit(git: &wire::GitInfo) -> Result<(), BadCommit> {
    match git.sha.len() >= 8 && git.sha.bytes().all(|it| it.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(BadCommit(git.sha.clone())),
    }
}

fn notice(text: &str) -> String {
    format!(
        "printf '%s\\n' {}\n",
        quote(&format!("\x1b[32;1m{text}\x1b[0;m"))
    )
}

fn prologue(user_agent: &str) -> String {
    format!(
        "command -v git > /dev/null || {{ echo 'git is not installed' >&2; exit 127; }}\n\
         rave_git() {{ git {GIT_FLAGS} -c http.userAgent={} \"$@\"; }}\n",
        quote(user_agent)
    )
}

fn init(git: &wire::GitInfo, bare: &str) -> String {
    let format = match git.repo_object_format.as_str() {
        "sha256" => " --object-format=sha256",
        _ => "",
    };
    format!("rave_git init --quiet --template=''{bare}{format}\n")
}

/// Hooks, monitors and external protocols that the working copy could name are off.
const GIT_FLAGS: &str = "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c protocol.ext.allow=never \
    -c init.defaultBranch=none -c fetch.recurseSubmodules=false -c credential.interactive=never -c gc.autoDetach=false";

/// Keeps of a repository what makes fetching cheap. Everything else could tell git what to run or where to read.
const CLEAN_GIT_DIR: &str = "rave_known=\n\
    if [ -d .git ] && [ ! -L .git ]; then\n\
    rave_known=1\n\
    find .git -mindepth 1 -maxdepth 1 ! -name objects ! -name refs ! -name packed-refs ! -name shallow ! -name index \
    ! -name modules ! -name lfs ! -name HEAD -exec rm -rf {} +\n\
    rm -rf .git/objects/info\n\
    find .git -name '*.lock' -type f -exec rm -f {} + 2> /dev/null || :\n\
    else rm -rf .git; fi\n";

/// The same for the repositories of submodules, each of which has a `HEAD` and `objects`.
const CLEAN_MODULES: &str = "if [ -L .git/modules ]; then rm -f .git/modules; fi\n\
    if [ -d .git/modules ]; then\n\
    find .git/modules -name '*.lock' -type f -exec rm -f {} + 2> /dev/null || :\n\
    find .git/modules -name HEAD -type f -exec sh -c 'for head; do dir=${head%/HEAD}; [ -d \"$dir/objects\" ] || continue; \
    rm -rf \"$dir/hooks\" \"$dir/info\" \"$dir/config\" \"$dir/config.worktree\" \"$dir/commondir\" \"$dir/objects/info\"; done' \
    sh {} +\n\
    fi\n";

/// A replaced object is checked out in place of the one that was asked for.
const FORGET_REPLACEMENTS: &str = "rave_git for-each-ref --format='delete %(refname)' refs/replace \
    | rave_git update-ref --stdin\n";

/// What a fetch that was killed leaves would be in the way of the next.
const CLEAN_STORE: &str = "find . -name '*.lock' -type f -exec rm -f {} +\n\
    rm -f objects/pack/tmp_* objects/pack/.tmp-*\n\
    rm -rf snapshots/*.new\n\
    mkdir -p snapshots\n";

/// Forgets refs and snapshots that nobody asked for in a long time, and joins small packs. No object is ever dropped.
const TEND_STORE: &str = "rave_git for-each-ref --sort=-committerdate --format='delete %(refname)' refs/tips \
    | tail -n +129 | rave_git update-ref --stdin\n\
    ls -t snapshots | tail -n +65 | while read -r rave_old; do rm -rf \"snapshots/$rave_old\"; done\n\
    if [ \"$(ls objects/pack | grep -c '[.]pack$')\" -gt 20 ]; then\n\
    rave_git repack --quiet -d --geometric=2\n\
    fi\n";

/// The filters are installed in the working copy, so that the job's own git knows the files again.
const LFS: &str = "if rave_git grep -q --cached 'filter=lfs' -- .gitattributes '*/.gitattributes' \
    && git lfs version > /dev/null 2>&1; then\n\
    git lfs install --local --skip-repo > /dev/null\n\
    rave_git lfs pull\n\
    fi\n";

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
        flags => format!("rave_git clean {}\n", words(flags)),
    }
}

fn words(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(quote).collect();
    words.join(" ")
}

fn submodules(variables: &Variables, with_lfs: bool) -> String {
    let recursive = match variables.get("GIT_SUBMODULE_STRATEGY").trim() {
        "normal" => "",
        "recursive" => " --recursive",
        _ => return String::new(),
    };
    let depth = variables.get("GIT_SUBMODULE_DEPTH").trim().parse::<u32>();
    let depth = depth.ok().filter(|it| *it > 0);
    let depth = depth.map(|it| format!(" --depth {it}")).unwrap_or_default();
    let flags = words(variables.get("GIT_SUBMODULE_UPDATE_FLAGS"));
    let paths = words(variables.get("GIT_SUBMODULE_PATHS"));
    let clean = match variables.get("GIT_CLEAN_FLAGS").trim() {
        "none" => String::new(),
        "" => "git clean -ffdx --quiet".to_owned(),
        flags => format!("git clean {}", words(flags)),
    };
    let each = |command: &str| match command {
        "" => String::new(),
        command => format!(
            "rave_git submodule foreach --quiet{recursive} {}\n",
            quote(command)
        ),
    };
    let (clean, lfs) = (each(&clean), each(SUBMODULE_LFS));
    let lfs = if with_lfs { lfs.as_str() } else { "" };
    let update =
        format!("rave_git submodule update --init --force{recursive}{depth} {flags} -- {paths}");
    format!(
        "printf '%s\\n' 'Updating/initializing submodules...'\n\
         rave_git submodule init -- {paths}\n\
         rave_git submodule sync --quiet{recursive} -- {paths}\n\
         {update} || {{ rave_git submodule sync --quiet{recursive} -- {paths}; {update}; }}\n\
         {clean}{lfs}"
    )
}

const SUBMODULE_LFS: &str = "if git grep -q --cached filter=lfs -- .gitattributes '*/.gitattributes'; then \
    git lfs install --local --skip-repo > /dev/null && git lfs pull; fi";

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> wire::GitInfo {
        wire::GitInfo {
            sha: "0123456789abcdef".to_owned(),
            reference: "it's".to_owned(),
            refspecs: vec!["+refs/pipelines/1:refs/pipelines/1".to_owned()],
            depth: 20,
            ..wire::GitInfo::default()
        }
    }

    #[test]
    fn no_secret_is_in_the_script_and_no_flag_hides_in_a_commit() {
        let mut git = info();
        let remote = Remote::parse("http://gitlab-ci-token:topsecret@h/p.git");
        let write = |git: &wire::GitInfo| {
            commands(git, &remote, &Variables::default(), "test", Objects::Server)
        };
        let text = write(&git).expect("a commit");
        assert!(!text.contains("topsecret"), "{text}");
        assert!(
            text.contains(
                "--depth 20 origin '--prune' '--quiet' '+refs/pipelines/1:refs/pipelines/1'"
            ),
            "{text}"
        );
        git.sha = "--upload-pack=x".to_owned();
        assert!(write(&git).is_err());
    }

    #[test]
    fn submodules_are_updated_as_the_variables_say() {
        let mut variables = Variables::default();
        assert_eq!(submodules(&variables, true), "");
        for (key, value) in [
            ("GIT_SUBMODULE_STRATEGY", "recursive"),
            ("GIT_SUBMODULE_DEPTH", "3"),
            ("GIT_SUBMODULE_PATHS", "lib :(exclude)vendor"),
            ("GIT_SUBMODULE_UPDATE_FLAGS", "--jobs 4"),
        ] {
            variables.set(key, value);
        }
        let text = submodules(&variables, false);
        let update = "submodule update --init --force --recursive --depth 3 '--jobs' '4' -- 'lib' ':(exclude)vendor'";
        assert!(text.contains(update), "{text}");
        assert!(!text.contains("lfs"), "{text}");
    }
}
