"""Why a pipeline has the jobs that it has, asked of the server after the fact."""

from harness.world import World

FILE = """\
include: ci/base.yml
build:
  extends: .base
  rules: [{if: '$TOKEN == "glpat-0123456789"'}]
test:
  script: [make test]
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule"
    - exists: [absent]
    - when: manual
      variables: {LEVEL: "<b>3</b>"}
late:
  script: [make late]
  only: [tags]
"""


def test_a_pipeline_says_why_it_has_its_jobs(world: World) -> None:
    project = world.project()
    project.gitlab.variables.create({"key": "TOKEN", "value": "glpat-0123456789", "masked": True})
    run = project.push_ci(FILE, {"ci/base.yml": ".base:\n  script: [make]\n"})
    number = run.pipeline.id
    session = project.owner.sign_in()

    def page(tail: str) -> str:
        answer = session.get(f"{project.url}/-/{tail}", timeout=30)
        assert answer.status_code == 200, f"{tail}: {answer.status_code}"
        assert "glpat-0123456789" not in answer.text
        return answer.text

    assert f"/-/pipelines/{number}/explain" in page(f"pipelines/{number}")
    assert f"/-/pipelines/{number}/explain?job=test" in page(f"jobs/{run.job('test').id}")
    overview = page(f"pipelines/{number}/explain")
    for text in ("rule 1 holds", "rule 3 holds", "<code>only:refs</code> does not allow it", "explain?job=late"):
        assert text in overview, text
    job = page(f"pipelines/{number}/explain?job=test")
    for text in ("In the pipeline", "$CI_PIPELINE_SOURCE", "no file matches", "&lt;b&gt;3&lt;/b&gt;", ".gitlab-ci.yml:6"):
        assert text in job, text
    assert "[redacted]" in page(f"pipelines/{number}/explain?job=build")

    api = project.owner.get(f"/projects/{project.id}/pipelines/{number}/explain?job=build").json()
    assert api["jobs"][0]["verdict"] == "rule 1 holds" and api["notes"] == []
    replay = project.owner.post(f"/projects/{project.id}/pipelines/{number}/replay", json={"content": FILE.replace("late:", "later:")}).json()
    assert (replay["valid"], replay["added"], replay["dropped"], replay["changed"]) == (True, [], [], [])
    replay = project.owner.post(f"/projects/{project.id}/pipelines/{number}/replay", json={"content": "new: {script: x}"}).json()
    assert (replay["added"], replay["dropped"]) == (["new"], ["build", "test"])


def test_lint_gives_the_merged_file(world: World) -> None:
    project = world.project()
    project.push({".gitlab-ci.yml": FILE, "ci/base.yml": ".base:\n  script: [make]\n"})
    lint = project.gitlab.ci_lint.get(include_jobs=True)
    assert lint.valid and lint.merged_yaml.startswith("---\n.base:\n  script:\n  - make\nbuild:\n")
    assert [(it["type"], it["location"]) for it in lint.includes] == [("local", "ci/base.yml")]
    never = {"content": "a: {script: x, rules: [{when: never}]}"}
    assert project.gitlab.ci_lint.create(never).valid
    assert not project.gitlab.ci_lint.create({**never, "dry_run": True}).valid
