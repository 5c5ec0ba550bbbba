//! What an event would tell the pipeline: the variables that the server makes of a push, taken from the working tree.

use rave_ci::{CiConfig, PipelineFacts};
use rave_ci_lang::{EventContext, Variable};
use rave_core::id::{NamespaceId, ProjectId, UserId};
use rave_core::name::{FullPath, ObjectId};
use rave_core::permission::{Project, Visibility};
use rave_core::port::{Commit, UserSummary};
use rave_core::time::{Clock as _, SystemClock};

use super::arguments::{EventArg, EventArgs};
use super::git::{Head, RemoteProject, Settings, remote_project};
use crate::failure::hinted;
use crate::wiring::VERSION;

/// Where the project would be if no remote says so.
const NOWHERE: &str = "local";

/// An event, decided from the arguments and what is checked out.
#[derive(Debug)]
pub(crate) struct Occasion {
    pub(crate) event: EventArg,
    pub(crate) context: EventContext,
    /// The branch with which a merge request or branch is compared.
    pub(crate) target: String,
}

/// What an occasion is made from.
#[derive(Debug)]
pub(crate) struct Local<'a> {
    pub(crate) args: &'a EventArgs,
    /// The name of the project's directory.
    pub(crate) directory: &'a str,
    pub(crate) file: &'a str,
    pub(crate) head: &'a Head,
    pub(crate) settings: &'a Settings,
    pub(crate) project_variables: Vec<Variable>,
}

impl Local<'_> {
    /// Decides about the event.
    pub(crate) fn occasion(self) -> anyhow::Result<Occasion> {
        let event = self.event();
        let default_branch = self.head.default_branch.clone();
        let default_branch = default_branch
            .or_else(|| self.head.branch.clone())
            .unwrap_or_else(|| "main".to_owned());
        let target = self
            .args
            .target
            .clone()
            .unwrap_or_else(|| default_branch.clone());
        let ref_name = self.ref_name(event, &default_branch)?;
        let remote = self.settings.remote_url.as_deref().and_then(remote_project);
        let remote = remote.unwrap_or_else(|| RemoteProject {
            server: "http://localhost".to_owned(),
            path: format!("{NOWHERE}/{}", self.directory),
        });
        let mut predefined = self.predefined(event, &remote, &default_branch, &ref_name);
        if event == EventArg::Mr {
            predefined.extend(self.merge_request(&remote, &ref_name, &target));
        }
        let find = |key: &str| predefined.iter().find(|it| it.key == key);
        let fqdn = find("CI_SERVER_FQDN").map(|it| it.value.clone());
        let given = self.args.variables.iter();
        let context = EventContext {
            source: event.source().to_owned(),
            ref_name,
            tag: event == EventArg::Tag,
            project_path: remote.path,
            server_fqdn: fqdn.unwrap_or_default(),
            project_variables: self.project_variables,
            pipeline_variables: given.map(|it| Variable::public(&it.0, &it.1)).collect(),
            inputs: self.args.inputs.iter().map(input).collect(),
            predefined,
            ..EventContext::default()
        };
        Ok(Occasion {
            event,
            context,
            target,
        })
    }

    fn event(&self) -> EventArg {
        self.args.event.unwrap_or_else(|| {
            let at_tag = self.head.branch.is_none() && !self.head.tags.is_empty();
            match (
                at_tag,
                self.args.target.is_some() || self.args.source.is_some(),
            ) {
                (_, true) => EventArg::Mr,
                (true, false) if self.args.reference.is_none() => EventArg::Tag,
                _ => EventArg::Push,
            }
        })
    }

    fn ref_name(&self, event: EventArg, default_branch: &str) -> anyhow::Result<String> {
        let named = match event {
            EventArg::Mr => self
                .args
                .source
                .clone()
                .or_else(|| self.args.reference.clone()),
            _ => self.args.reference.clone(),
        };
        if let Some(name) = named {
            return Ok(name);
        }
        if event != EventArg::Tag {
            let branch = self.head.branch.clone();
            return Ok(branch.unwrap_or_else(|| default_branch.to_owned()));
        }
        self.head.tags.first().cloned().ok_or_else(|| {
            let hint = "name one with --ref, such as `--event tag --ref v1.0`";
            hinted("what is checked out has no tag", hint, None)
        })
    }

    fn predefined(
        &self,
        event: EventArg,
        remote: &RemoteProject,
        default_branch: &str,
        ref_name: &str,
    ) -> Vec<Variable> {
        let now = SystemClock.now();
        let path = FullPath::parse(&remote.path);
        let path =
            path.unwrap_or_else(|_| FullPath::parse("local/project").expect("the path is valid"));
        let project = Project {
            id: ProjectId(0),
            namespace: NamespaceId(0),
            name: path.last().as_str().to_owned(),
            path,
            description: String::new(),
            visibility: Visibility::Private,
            default_branch: default_branch.to_owned(),
            archived: false,
            creator: None,
            created_at: now,
            updated_at: now,
            last_activity_at: now,
        };
        let name = self
            .settings
            .user_name
            .clone()
            .unwrap_or_else(|| "local".to_owned());
        let email = self.settings.user_email.clone().unwrap_or_default();
        let login = email.split('@').next().filter(|it| !it.is_empty());
        let login = login.map(str::to_owned);
        let user = UserSummary {
            id: UserId(0),
            username: login.unwrap_or_else(|| name.clone()),
            name,
            email,
            active: true,
        };
        let commit = self.head.commit.clone().unwrap_or_else(no_commit);
        let config = CiConfig::new(&remote.server, VERSION);
        let mut list = rave_ci::of_pipeline(&PipelineFacts {
            config: &config,
            project: &project,
            namespace: None,
            commit: &commit,
            user: Some(&user),
            source: event.source(),
            ref_name,
            tag: event == EventArg::Tag,
            protected: ref_name == default_branch,
            before_sha: ObjectId::ZERO,
            created_at: now,
        });
        if let Some(path) = list.iter_mut().find(|it| it.key == "CI_CONFIG_PATH") {
            self.file.clone_into(&mut path.value);
        }
        // A pipeline of a merge request is none of a branch.
        list.retain(|it| event != EventArg::Mr || it.key != "CI_COMMIT_BRANCH");
        list
    }

    fn merge_request(&self, remote: &RemoteProject, source: &str, target: &str) -> Vec<Variable> {
        let commit = self.head.commit.as_ref();
        let sha = commit.map_or(ObjectId::ZERO, |it| it.id.as_str());
        let url = format!("{}/{}", remote.server, remote.path);
        let title = commit.map_or("", Commit::title);
        let pairs = [
            ("CI_MERGE_REQUEST_ID", "1"),
            ("CI_MERGE_REQUEST_IID", "1"),
            ("CI_MERGE_REQUEST_REF_PATH", "refs/merge-requests/1/head"),
            ("CI_MERGE_REQUEST_EVENT_TYPE", "detached"),
            ("CI_MERGE_REQUEST_PROJECT_ID", "0"),
            ("CI_MERGE_REQUEST_PROJECT_PATH", &remote.path),
            ("CI_MERGE_REQUEST_PROJECT_URL", &url),
            ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "0"),
            ("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", &remote.path),
            ("CI_MERGE_REQUEST_SOURCE_PROJECT_URL", &url),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", source),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED", "false"),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", ""),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", target),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED", "true"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", ""),
            ("CI_MERGE_REQUEST_DIFF_BASE_SHA", sha),
            ("CI_MERGE_REQUEST_TITLE", title),
            ("CI_MERGE_REQUEST_DRAFT", "false"),
        ];
        let mut list: Vec<Variable> = pairs
            .into_iter()
            .map(|(key, value)| Variable {
                raw: true,
                ..Variable::public(key, value)
            })
            .collect();
        list.push(Variable::public(
            "CI_OPEN_MERGE_REQUESTS",
            format!("{}!1", remote.path),
        ));
        list
    }
}

/// Inputs are JSON where they can be read as such, or else text.
fn input(pair: &(String, String)) -> (String, rave_ci_lang::InputValue) {
    let text = || rave_ci_lang::InputValue::Text(pair.1.clone());
    let value = serde_json::from_str(&pair.1).unwrap_or_else(|_| text());
    (pair.0.clone(), value)
}

fn no_commit() -> Commit {
    Commit {
        id: ObjectId::parse(ObjectId::ZERO).expect("zeros are an id"),
        parents: Vec::new(),
        author_name: String::new(),
        author_email: String::new(),
        authored_at: String::new(),
        committer_name: String::new(),
        committer_email: String::new(),
        committed_at: String::new(),
        message: String::new(),
    }
}
