//! What the kernel says of a process that it ended for want of memory: by then nobody else can tell which it was.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

use super::group::JobGroup;

/// The kernel keeps fewer records than that.
const RECORDS: usize = 100_000;

impl JobGroup {
    /// Returns the process that the kernel ended last for want of memory in this group: its name and what it had. `None`
    /// where the kernel's log cannot be read.
    pub(crate) fn killed(&self) -> Option<(String, u64)> {
        let place = self.places.iter().find(|it| it.has("memory"))?;
        let group = place.dir.file_name()?.to_str()?;
        let mut log = File::options()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .ok()?;
        let (mut record, mut finder) = ([0; 8192], Finder::new(group));
        for _ in 0..RECORDS {
            match log.read(&mut record) {
                Ok(len) if len > 0 => finder.read(&String::from_utf8_lossy(&record[..len])),
                // Records were overwritten before they were read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                _ => break,
            }
        }
        finder.found
    }
}

/// Finds the two records about a process: one names it and the group, the next says what it had.
struct Finder<'a> {
    group: &'a str,
    /// The number and the name of the process that was named last.
    named: Option<(String, String)>,
    found: Option<(String, u64)>,
}

impl<'a> Finder<'a> {
    const fn new(group: &'a str) -> Self {
        Self {
            group,
            named: None,
            found: None,
        }
    }

    fn read(&mut self, record: &str) {
        let between = |from: &str, to: &str| {
            let rest = record.split_once(from)?.1;
            Some(rest.split_once(to).map_or(rest, |it| it.0).to_owned())
        };
        if let Some(path) = between("oom_memcg=", ",") {
            let own = path.split('/').any(|it| it == self.group);
            // The name is the job's choice and may hold anything but a line's end.
            let name = record.split_once(",task=").map(|it| it.1);
            let name = name.and_then(|it| it.rsplit_once(",pid="));
            self.named = name.filter(|_| own).map(|(name, pid)| {
                let pid = pid.split(',').next().unwrap_or_default();
                (pid.trim().to_owned(), name.to_owned())
            });
        } else if let Some((pid, name)) = &self.named
            && record.contains(&format!("Killed process {pid} ("))
        {
            let kib = between("anon-rss:", "kB").and_then(|it| it.parse::<u64>().ok());
            let name = name
                .chars()
                .filter(|it| !it.is_control())
                .take(32)
                .collect();
            self.found = kib.map(|kib| (name, kib << 10)).or(self.found.take());
            self.named = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_of_the_group_is_found() {
        let records = [
            "6,1,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/a/rave-job-9-6,task_memcg=/a/rave-job-9-6,task=cc,pid=7,uid=0\n",
            "3,2,1,-;Memory cgroup out of memory: Killed process 7 (cc) total-vm:9kB, anon-rss:100kB, file-rss:0kB\n",
            "6,3,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/a/rave-job-9-65,task_memcg=/a/rave-job-9-65,task=l,d,pid=8,uid=0\n",
            "3,4,1,-;Memory cgroup out of memory: Killed process 8 (l,d) total-vm:9kB, anon-rss:200kB, file-rss:0kB\n",
            "6,5,1,-;something else\n",
        ];
        let find = |group: &str| {
            let mut finder = Finder::new(group);
            records.iter().for_each(|it| finder.read(it));
            finder.found
        };
        assert_eq!(find("rave-job-9-6"), Some(("cc".to_owned(), 100 << 10)));
        assert_eq!(find("rave-job-9-65"), Some(("l,d".to_owned(), 200 << 10)));
        assert_eq!(find("rave-job-9"), None);
    }
}
