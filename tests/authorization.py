"""What everyone is answered on every route, asked about a private project that only reporter and maintainer are members of.

- `yes`: let through. The walk sends no contents, so the answer may well be that something is missing.
- `401`: who is asking?
- `403`: the caller may know of the thing, not do this to it.
- `login`: a page that leads to the login form.
- `hidden`: answered as if the project or group did not exist.
- `absent`: so is something else.
"""

PERSONAS = ("anonymous", "stranger", "reporter", "maintainer", "admin")

_ROUTES = [
    # Open to all. Triggers first of all miss their token, which is not sent.
    (
        "yes yes yes yes yes",
        """
        GET /
        GET /.well-known/openid-configuration
        GET /oauth/discovery/keys
        GET /-/assets/{version}/{name}
        GET /-/health
        GET /-/liveness
        GET /-/login
        GET /-/ready
        GET /-/readiness
        GET /metrics
        POST /-/logout
        GET /api/v4/groups
        GET /api/v4/projects
        POST /api/v4/projects/{id}/trigger/pipeline
        POST /api/v4/projects/{id}/ref/{ref}/trigger/pipeline
        GET /-/cache
        GET /-/caches
        GET /-/cache/_api/v1/caches
    """,
    ),
    # Binary caches. These two name theirs in what is sent, which is nothing.
    (
        "yes yes yes yes yes",
        """
        POST /-/cache/_api/v1/get-missing-paths
        PUT /-/cache/_api/v1/upload-path
    """,
    ),
    # A private cache that the group uses: it looks absent to those who may not read it.
    (
        "401 absent yes yes yes",
        """
        GET /-/cache/_api/v1/cache-config/{cache}
        GET /-/cache/_api/v1/caches/{cache}
        GET /-/cache/_api/v1/caches/{cache}/attachments
        GET /-/cache/_api/v1/caches/{cache}/keys
        GET /-/cache/_api/v1/caches/{cache}/paths
        GET /-/cache/_api/v1/caches/{cache}/pins
        GET /-/cache/_api/v1/caches/{cache}/statistics
        GET /-/cache/{cache}/build-trace-v2/{drv}/{file}
        GET /-/cache/{cache}/{file}
    """,
    ),
    (
        "login absent yes yes yes",
        """
        GET /-/caches/{cache}
    """,
    ),
    # Nothing is in it.
    (
        "401 absent absent absent absent",
        """
        GET /-/cache/_api/v1/caches/{cache}/paths/{hash}
        GET /-/cache/{cache}/debuginfo/{file}
        GET /-/cache/{cache}/log/{drv}
        GET /-/cache/{cache}/nar/{file}
        GET /-/cache/{cache}/realisations/{file}
    """,
    ),
    (
        "401 absent 403 yes yes",
        """
        GET /-/cache/_api/v1/caches/{cache}/gc
        POST /-/cache/_api/v1/caches/{cache}/gc
        POST /-/cache/_api/v1/caches/{cache}/keys
        PATCH /-/cache/_api/v1/cache-config/{cache}
        PUT /-/cache/_api/v1/caches/{cache}/attachments
        DELETE /-/cache/_api/v1/caches/{cache}/attachments
        PUT /-/cache/_api/v1/caches/{cache}/keys/{key}
        DELETE /-/cache/_api/v1/caches/{cache}/keys/{key}
        DELETE /-/cache/_api/v1/caches/{cache}/paths/{hash}
        PUT /-/cache/_api/v1/caches/{cache}/pins/{name}
        DELETE /-/cache/_api/v1/caches/{cache}/pins/{name}
        PUT /-/cache/{cache}/build-trace-v2/{drv}/{file}
        PUT /-/cache/{cache}/debuginfo/{file}
        PUT /-/cache/{cache}/log/{drv}
        PUT /-/cache/{cache}/nar/{file}
        PUT /-/cache/{cache}/realisations/{file}
        PUT /-/cache/{cache}/{file}
        POST /-/caches/{cache}/attach
        POST /-/caches/{cache}/detach
        POST /-/caches/{cache}/keys
        POST /-/caches/{cache}/keys/{key}/remove
        POST /-/caches/{cache}/settings
    """,
    ),
    (
        "401 absent 403 403 yes",
        """
        DELETE /-/cache/_api/v1/cache-config/{cache}
        POST /-/caches/{cache}/delete
    """,
    ),
    (
        "401 yes yes yes yes",
        """
        POST /-/cache/_api/v1/cache-config/{cache}
        POST /-/caches
    """,
    ),
    # Nothing is sent, which is neither a right password nor a link that exists.
    (
        "401 401 401 401 401",
        """
        GET /api/v4/job
        POST /-/login
    """,
    ),
    (
        "absent absent absent absent absent",
        """
        GET /-/claim/{token}
        POST /-/claim/{token}
    """,
    ),
    # Whoever is signed in.
    (
        "login yes yes yes yes",
        """
        GET /-/projects/new
        GET /-/groups/new
        GET /-/user_settings/password
        GET /-/user_settings/personal_access_tokens
    """,
    ),
    (
        "401 yes yes yes yes",
        """
        POST /-/projects/new
        GET /api/v4/runners
        POST /api/v4/ci/lint
        POST /api/v4/user/runners
        POST /-/groups/new
        POST /-/user_settings/password
        POST /-/user_settings/personal_access_tokens
        GET /api/v4/metadata
        GET /api/v4/namespaces
        GET /api/v4/namespaces/{id}/exists
        GET /api/v4/personal_access_tokens
        GET /api/v4/user
        GET /api/v4/users
        GET /api/v4/users/{id}
        GET /api/v4/version
        POST /api/v4/groups
        POST /api/v4/projects
        POST /api/v4/user/personal_access_tokens
    """,
    ),
    (
        "absent yes yes yes yes",
        """
        GET /api/v4/users/{id}/projects
        """,
    ),
    # Somebody else's tokens.
    (
        "401 absent absent absent absent",
        """
        POST /-/user_settings/personal_access_tokens/{id}/revoke
    """,
    ),
    (
        "401 absent absent absent yes",
        """
        GET /api/v4/personal_access_tokens/{id}
        DELETE /api/v4/personal_access_tokens/{id}
        POST /api/v4/personal_access_tokens/{id}/rotate
    """,
    ),
    # The instance.
    (
        "login absent absent absent yes",
        """
        GET /-/admin/users
        GET /-/admin/runners
        GET /-/admin/runners/new
        GET /-/admin/runners/{runner}
        GET /-/admin/runners/{runner}/edit
        GET /-/admin/ci_cd
        GET /-/admin/ci_cd/variables/{key}
    """,
    ),
    (
        "401 absent absent absent yes",
        """
        POST /-/admin/users
        POST /-/admin/users/{id}/block
        POST /-/admin/users/{id}/invite
        POST /-/admin/users/{id}/unblock
        POST /-/admin/ci_cd/variables
        POST /-/admin/ci_cd/variables/{key}
        POST /-/admin/ci_cd/variables/{key}/delete
        POST /-/admin/runners
        POST /-/admin/runners/{runner}
        POST /-/admin/runners/{runner}/delete
        POST /-/admin/runners/{runner}/reset
        POST /-/admin/runners/{runner}/pause
        POST /-/admin/runners/{runner}/resume
    """,
    ),
    (
        "401 403 403 403 yes",
        """
        GET /api/v4/users/{id}/memberships
        POST /api/v4/users
        POST /api/v4/users/{id}/block
        POST /api/v4/users/{id}/personal_access_tokens
        POST /api/v4/users/{id}/unblock
    """,
    ),
    # Somebody else's namespace, and all runners.
    (
        "401 403 403 403 yes",
        """
        GET /api/v4/runners/all
        """,
    ),
    # The instance's registration token.
    (
        "401 403 403 403 yes",
        """
        POST /api/v4/runners/reset_registration_token
        """,
    ),
    # Runners and jobs speak for themselves, by tokens of their own. People's tokens mean nothing here.
    (
        "403 403 403 403 403",
        """
        POST /api/v4/jobs/request
        PUT /api/v4/jobs/{job}
        GET /api/v4/jobs/{job}/artifacts
        POST /api/v4/jobs/{job}/artifacts
        POST /api/v4/jobs/{job}/artifacts/authorize
        PATCH /api/v4/jobs/{job}/trace
        POST /api/v4/runners
        DELETE /api/v4/runners
        DELETE /api/v4/runners/managers
        POST /api/v4/runners/reset_authentication_token
        POST /api/v4/runners/verify
        """,
    ),
    # A project's runner.
    (
        "401 absent absent yes yes",
        """
        GET /api/v4/runners/{runner}
        PUT /api/v4/runners/{runner}
        DELETE /api/v4/runners/{runner}
        GET /api/v4/runners/{runner}/jobs
        GET /api/v4/runners/{runner}/managers
        POST /api/v4/runners/{runner}/reset_authentication_token
        """,
    ),
    # The instance's variables.
    (
        "401 403 403 403 yes",
        """
        GET /api/v4/admin/ci/variables
        POST /api/v4/admin/ci/variables
        GET /api/v4/admin/ci/variables/{key}
        PUT /api/v4/admin/ci/variables/{key}
        DELETE /api/v4/admin/ci/variables/{key}
    """,
    ),
    # A group's variables and runners.
    (
        "401 hidden 403 403 yes",
        """
        GET /api/v4/groups/{id}/runners
        POST /api/v4/groups/{id}/runners/reset_registration_token
        GET /api/v4/groups/{id}/variables
        POST /api/v4/groups/{id}/variables
        GET /api/v4/groups/{id}/variables/{key}
        PUT /api/v4/groups/{id}/variables/{key}
        DELETE /api/v4/groups/{id}/variables/{key}
    """,
    ),
    # Groups' pages.
    (
        "login hidden 403 403 yes",
        """
        GET /-/groups/{id}/settings/ci_cd
        GET /-/groups/{id}/settings/ci_cd/variables/{key}
        GET /-/groups/{id}/runners
        GET /-/groups/{id}/runners/new
        """,
    ),
    # The runner is the project's.
    (
        "login hidden 403 403 absent",
        """
        GET /-/groups/{id}/runners/{runner}
        GET /-/groups/{id}/runners/{runner}/edit
        """,
    ),
    (
        "401 hidden 403 403 absent",
        """
        POST /-/groups/{id}/runners/{runner}
        POST /-/groups/{id}/runners/{runner}/delete
        POST /-/groups/{id}/runners/{runner}/pause
        POST /-/groups/{id}/runners/{runner}/reset
        POST /-/groups/{id}/runners/{runner}/resume
        """,
    ),
    (
        "401 hidden 403 403 yes",
        """
        POST /-/groups/{id}/runners
        POST /-/groups/{id}/settings/ci_cd/variables
        POST /-/groups/{id}/settings/ci_cd/variables/{key}
        POST /-/groups/{id}/settings/ci_cd/variables/{key}/delete
        """,
    ),
    (
        "login hidden yes yes yes",
        """
        GET /-/groups/{id}/members
        """,
    ),
    (
        "401 hidden 403 403 yes",
        """
        POST /-/groups/{id}/members
        POST /-/groups/{id}/members/{user}/remove
        POST /-/groups/{id}/members/{user}/update
        POST {project}/-/settings/delete
        """,
    ),
    (
        "absent absent yes yes yes",
        """
        GET /api/v4/namespaces/{id}
        """,
    ),
    # Groups.
    (
        "hidden hidden yes yes yes",
        """
        GET /api/v4/groups/{id}
        GET /api/v4/groups/{id}/members
        GET /api/v4/groups/{id}/members/all
        GET /api/v4/groups/{id}/members/all/{user}
        GET /api/v4/groups/{id}/members/{user}
        GET /api/v4/groups/{id}/projects
        GET /api/v4/groups/{id}/subgroups
    """,
    ),
    (
        "401 hidden 403 403 yes",
        """
        PUT /api/v4/groups/{id}
        DELETE /api/v4/groups/{id}
        POST /api/v4/groups/{id}/members
        PUT /api/v4/groups/{id}/members/{user}
        DELETE /api/v4/groups/{id}/members/{user}
    """,
    ),
    # Projects: who may read.
    (
        "hidden hidden yes yes yes",
        """
        GET /api/v4/projects/{id}/ci/lint
        GET /api/v4/projects/{id}/jobs
        GET /api/v4/projects/{id}/jobs/artifacts/{ref}/download
        GET /api/v4/projects/{id}/jobs/artifacts/{ref}/raw/{*path}
        GET /api/v4/projects/{id}/jobs/{job}
        GET /api/v4/projects/{id}/jobs/{job}/artifacts
        GET /api/v4/projects/{id}/jobs/{job}/artifacts/{*path}
        GET /api/v4/projects/{id}/jobs/{job}/trace
        GET /api/v4/projects/{id}/pipelines
        GET /api/v4/projects/{id}/pipelines/latest
        GET /api/v4/projects/{id}/pipelines/{pipeline}
        GET /api/v4/projects/{id}/pipelines/{pipeline}/bridges
        GET /api/v4/projects/{id}/pipelines/{pipeline}/explain
        GET /api/v4/projects/{id}/pipelines/{pipeline}/jobs
        GET /api/v4/projects/{id}/pipeline_schedules
        GET /api/v4/projects/{id}/pipeline_schedules/{schedule}
        GET /api/v4/projects/{id}/pipeline_schedules/{schedule}/pipelines
        GET /api/v4/projects/{id}/pipelines/{pipeline}/test_report
        GET /api/v4/projects/{id}/pipelines/{pipeline}/test_report_summary
        GET /api/v4/projects/{id}/pipelines/{pipeline}/findings
        GET /api/v4/projects/{id}/pipelines/{pipeline}/coverage_report
        GET /api/v4/projects/{id}
        GET /api/v4/projects/{id}/members
        GET /api/v4/projects/{id}/members/all
        GET /api/v4/projects/{id}/members/all/{user}
        GET /api/v4/projects/{id}/members/{user}
        GET /api/v4/projects/{id}/repository/archive
        GET /api/v4/projects/{id}/repository/archive.tar
        GET /api/v4/projects/{id}/repository/archive.tar.gz
        GET /api/v4/projects/{id}/repository/archive.zip
        GET /api/v4/projects/{id}/repository/blobs/{sha}
        GET /api/v4/projects/{id}/repository/blobs/{sha}/raw
        GET /api/v4/projects/{id}/repository/branches
        GET /api/v4/projects/{id}/repository/branches/{branch}
        GET /api/v4/projects/{id}/repository/commits
        GET /api/v4/projects/{id}/repository/commits/{sha}
        GET /api/v4/projects/{id}/repository/commits/{sha}/diff
        GET /api/v4/projects/{id}/repository/commits/{sha}/refs
        GET /api/v4/projects/{id}/repository/compare
        GET /api/v4/projects/{id}/repository/files/{path}
        GET /api/v4/projects/{id}/repository/files/{path}/raw
        GET /api/v4/projects/{id}/repository/merge_base
        GET /api/v4/projects/{id}/repository/tags
        GET /api/v4/projects/{id}/repository/tags/{tag}
        GET /api/v4/projects/{id}/repository/tree
    """,
    ),
    (
        "login hidden yes yes yes",
        """
        GET {project}/-/blob/{*rest}
        GET {project}/-/branches
        GET {project}/-/commit/{sha}
        GET {project}/-/commits
        GET {project}/-/commits/{*rest}
        GET {project}/-/raw/{*rest}
        GET {project}/-/tags
        GET {project}/-/tree/{*rest}
        GET {project}/-/jobs
        GET {project}/-/jobs/{job}
        GET {project}/-/jobs/{job}/artifacts/browse
        GET {project}/-/jobs/{job}/artifacts/browse/{*path}
        GET {project}/-/jobs/{job}/artifacts/download
        GET {project}/-/jobs/{job}/artifacts/file/{*path}
        GET {project}/-/jobs/{job}/live
        GET {project}/-/jobs/{job}/raw
        GET {project}/-/badges/{*rest}
        GET {project}/-/pipeline_schedules
        GET {project}/-/pipelines
        GET {project}/-/pipelines/{pipeline}
        GET {project}/-/pipelines/{pipeline}/explain
        GET {project}/-/pipelines/{pipeline}/live
        GET {project}/-/pipelines/{pipeline}/builds
        GET {project}/-/pipelines/{pipeline}/needs
        GET {project}/-/pipelines/{pipeline}/test_report
        GET {project}/-/pipelines/{pipeline}/findings
        GET {project}/-/pipelines/{pipeline}/coverage
        GET {project}/-/pipelines/{pipeline}/reports
    """,
    ),
    (
        "401 absent yes yes yes",
        """
        GET {project}.git/info/refs
        POST {project}.git/git-upload-pack
    """,
    ),
    # Where a user or a group may be as well.
    (
        "login absent yes yes yes",
        """
        GET {project}
        """,
    ),
    # A schedule is changed by its owner, who here is a maintainer.
    (
        "login hidden 403 yes yes",
        """
        GET {project}/-/pipeline_schedules/{schedule}/edit
    """,
    ),
    # Projects: who may write.
    (
        "401 absent 403 yes yes",
        """
        POST {project}.git/git-receive-pack
    """,
    ),
    (
        "login hidden 403 yes yes",
        """
        GET {project}/-/settings
        GET {project}/-/settings/ci_cd
        GET {project}/-/settings/ci_cd/variables/{key}
        GET {project}/-/runners
        GET {project}/-/runners/new
        GET {project}/-/runners/{runner}
        GET {project}/-/runners/{runner}/edit
        GET {project}/-/pipeline_schedules/new
        GET {project}/-/pipelines/new
    """,
    ),
    (
        "401 hidden 403 yes yes",
        """
        DELETE /api/v4/projects/{id}/members/{user}
        POST {project}/-/branches
        POST {project}/-/branches/delete
        POST {project}/-/settings
        POST {project}/-/runners
        POST {project}/-/runners/{runner}
        POST {project}/-/runners/{runner}/delete
        POST {project}/-/runners/{runner}/pause
        POST {project}/-/runners/{runner}/reset
        POST {project}/-/runners/{runner}/resume
        POST {project}/-/settings/ci_cd/triggers
        POST {project}/-/settings/ci_cd/triggers/{trigger}/delete
        POST {project}/-/settings/ci_cd/variables
        POST {project}/-/settings/ci_cd/variables/{key}
        POST {project}/-/settings/ci_cd/variables/{key}/delete
        POST {project}/-/pipeline_schedules
        POST {project}/-/pipeline_schedules/{schedule}
        POST {project}/-/pipeline_schedules/{schedule}/delete
        POST {project}/-/pipeline_schedules/{schedule}/play
        POST {project}/-/pipeline_schedules/{schedule}/take_ownership
        POST {project}/-/settings/archive
        POST {project}/-/settings/protected_branches
        POST {project}/-/settings/protected_branches/remove
        POST {project}/-/jobs/{job}/cancel
        POST {project}/-/jobs/{job}/erase
        POST {project}/-/jobs/{job}/play
        POST {project}/-/jobs/{job}/unschedule
        POST {project}/-/jobs/{job}/retry
        POST {project}/-/pipelines
        POST {project}/-/pipelines/{pipeline}/cancel
        POST {project}/-/pipelines/{pipeline}/retry
    """,
    ),
    (
        "hidden hidden 403 yes yes",
        """
        POST /api/v4/projects/{id}/ci/lint
        POST /api/v4/projects/{id}/pipelines/{pipeline}/replay
        POST /api/v4/projects/{id}/pipeline
        GET /api/v4/projects/{id}/pipelines/{pipeline}/variables
        GET /api/v4/projects/{id}/runners
        POST /api/v4/projects/{id}/runners
        DELETE /api/v4/projects/{id}/runners/{runner}
        POST /api/v4/projects/{id}/runners/reset_registration_token
        POST /api/v4/projects/{id}/pipeline_schedules
        PUT /api/v4/projects/{id}/pipeline_schedules/{schedule}
        DELETE /api/v4/projects/{id}/pipeline_schedules/{schedule}
        POST /api/v4/projects/{id}/pipeline_schedules/{schedule}/play
        POST /api/v4/projects/{id}/pipeline_schedules/{schedule}/take_ownership
        POST /api/v4/projects/{id}/pipeline_schedules/{schedule}/variables
        PUT /api/v4/projects/{id}/pipeline_schedules/{schedule}/variables/{key}
        DELETE /api/v4/projects/{id}/pipeline_schedules/{schedule}/variables/{key}
        GET /api/v4/projects/{id}/triggers
        POST /api/v4/projects/{id}/triggers
        GET /api/v4/projects/{id}/triggers/{trigger}
        PUT /api/v4/projects/{id}/triggers/{trigger}
        DELETE /api/v4/projects/{id}/triggers/{trigger}
        GET /api/v4/projects/{id}/variables
        POST /api/v4/projects/{id}/variables
        GET /api/v4/projects/{id}/variables/{key}
        PUT /api/v4/projects/{id}/variables/{key}
        DELETE /api/v4/projects/{id}/variables/{key}
        DELETE /api/v4/projects/{id}/artifacts
        POST /api/v4/projects/{id}/pipelines/{pipeline}/cancel
        POST /api/v4/projects/{id}/pipelines/{pipeline}/retry
        POST /api/v4/projects/{id}/jobs/{job}/artifacts/keep
        POST /api/v4/projects/{id}/jobs/{job}/cancel
        GET /api/v4/projects/{id}/resource_groups
        GET /api/v4/projects/{id}/resource_groups/{key}
        PUT /api/v4/projects/{id}/resource_groups/{key}
        GET /api/v4/projects/{id}/resource_groups/{key}/upcoming_jobs
        POST /api/v4/projects/{id}/jobs/{job}/erase
        POST /api/v4/projects/{id}/jobs/{job}/play
        POST /api/v4/projects/{id}/jobs/{job}/retry
        DELETE /api/v4/projects/{id}/jobs/{job}/artifacts
        PUT /api/v4/projects/{id}
        POST /api/v4/projects/{id}/archive
        POST /api/v4/projects/{id}/members
        PUT /api/v4/projects/{id}/members/{user}
        GET /api/v4/projects/{id}/protected_branches
        POST /api/v4/projects/{id}/protected_branches
        GET /api/v4/projects/{id}/protected_branches/{name}
        PATCH /api/v4/projects/{id}/protected_branches/{name}
        DELETE /api/v4/projects/{id}/protected_branches/{name}
        POST /api/v4/projects/{id}/repository/branches
        DELETE /api/v4/projects/{id}/repository/branches/{branch}
        POST /api/v4/projects/{id}/repository/tags
        DELETE /api/v4/projects/{id}/repository/tags/{tag}
        DELETE /api/v4/projects/{id}/pipelines/{pipeline}
        POST /api/v4/projects/{id}/unarchive
    """,
    ),
    # Nobody is at work.
    (
        "hidden hidden 403 absent absent",
        """
        GET /api/v4/projects/{id}/resource_groups/{key}/current_job
    """,
    ),
    (
        "hidden hidden 403 403 yes",
        """
        DELETE /api/v4/projects/{id}
    """,
    ),
]

TABLE: dict[tuple[str, str], tuple[str, ...]] = {}
for _expected, _routes in _ROUTES:
    for _line in _routes.split("\n"):
        if _line.strip():
            _method, _path = _line.split()
            assert (_method, _path) not in TABLE, f"{_line.strip()} stands twice in the table"
            TABLE[_method, _path] = tuple(_expected.split())
