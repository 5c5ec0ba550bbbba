//! Paths of reports as the repository knows them: tools name files from wherever they ran.

use std::collections::{BTreeMap, BTreeSet};

use super::{FileCoverage, Parsed};

/// How many directories above a file may be the machine's rather than the repository's.
const DEPTH: usize = 50;

/// The files of a commit.
pub(crate) struct Files<'a> {
    all: BTreeSet<&'a str>,
    by_name: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Files<'a> {
    pub(crate) fn new(files: &'a [String]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for file in files {
            by_name.entry(last(file)).or_default().push(file);
        }
        Self {
            all: files.iter().map(String::as_str).collect(),
            by_name,
        }
    }

    /// Returns the file that a report means: the path itself, below one of the report's directories, or the only file
    /// whose path ends so.
    fn find(&self, path: &str, sources: &[String]) -> Option<&'a str> {
        if let Some(found) = self.all.get(path) {
            return Some(found);
        }
        // A name alone says too little, unless the report says in which directory it is.
        let joined = sources.iter().map(|it| (format!("{it}/{path}"), 1));
        for (whole, least) in joined.chain([(path.to_owned(), 2)]) {
            let is_part = |it: &&str| !matches!(*it, "" | ".");
            let parts: Vec<&str> = whole.split('/').filter(is_part).collect();
            let last_start = parts.len().saturating_sub(least - 1).min(DEPTH);
            for from in 0..last_start {
                if let Some(found) = self.all.get(parts[from..].join("/").as_str()) {
                    return Some(found);
                }
            }
        }
        let tail = format!("/{}", path.trim_start_matches('/'));
        let same_name = self.by_name.get(last(path))?;
        let mut ending = same_name.iter().filter(|it| it.ends_with(&tail));
        match (ending.next(), ending.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Replaces the paths of covered files and of tests by those of the repository where they are known.
pub(crate) fn resolve(parsed: &mut Parsed, files: &Files<'_>) {
    let mut merged: BTreeMap<String, FileCoverage> = BTreeMap::new();
    for mut file in std::mem::take(&mut parsed.files) {
        let path = file.path.replace('\\', "/");
        let found = files.find(&path, &parsed.sources).map(str::to_owned);
        file.path = found.unwrap_or(path);
        match merged.get(&file.path) {
            Some(other) if other.covered >= file.covered => {}
            _ => drop(merged.insert(file.path.clone(), file)),
        }
    }
    parsed.files = merged.into_values().collect();
    for test in &mut parsed.tests {
        if let Some(path) = &test.file
            && let Some(found) = files.find(&path.replace('\\', "/"), &[])
        {
            test.file = Some(found.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_below_directories_and_by_their_ends() {
        let all = [
            "src/p/a.py",
            "lib/p/a.py",
            "README.md",
            "core/src/main/java/org/app/Main.java",
            "docs/README.md",
        ]
        .map(str::to_owned);
        let files = Files::new(&all);
        let check = |path: &str, sources: &[&str], expected: Option<&str>| {
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            assert_eq!(
                files.find(path, &sources),
                expected,
                "{path} below {sources:?}"
            );
        };
        check("src/p/a.py", &[], Some("src/p/a.py"));
        check("p/a.py", &["/builds/team/app/src"], Some("src/p/a.py"));
        check("p/a.py", &["/builds/team/app/lib/"], Some("lib/p/a.py"));
        check("p/a.py", &[], None);
        check("/builds/x/src/p/a.py", &[], Some("src/p/a.py"));
        check(
            "org/app/Main.java",
            &[],
            Some("core/src/main/java/org/app/Main.java"),
        );
        check("elsewhere/b.py", &["/builds"], None);
        check("/usr/include/README.md", &[], None);
        check("app/README.md", &["/builds/team"], Some("README.md"));
    }
}
