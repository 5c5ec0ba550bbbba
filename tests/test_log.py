"""Logs: live, whole, masked, in sections and colours."""

import re

import requests
from harness import secrets
from harness.gate import Gates
from harness.wait import wait_for
from harness.world import World, unique


def test_the_jobs_token_is_masked_in_the_log(world: World, gates: Gates) -> None:
    word = unique("mask")
    script = f'''
work:
  script:
    - {gates.tell_command(word, "$CI_JOB_TOKEN")}
    - echo "the token is $CI_JOB_TOKEN."
    - printf '%s' "${{CI_JOB_TOKEN:0:12}}"; sync; printf '%s\\n' "${{CI_JOB_TOKEN:12}}"
    - echo "glpat-abcdefghijklmnopqrst is a token's form"
    - echo "$CI_REPOSITORY_URL"
'''
    run = world.ci(script).end("success")
    token = secrets.note(gates.hear(word))
    raw = run.job("work").trace()
    assert token.encode() not in raw and token[12:].encode() not in raw
    log = run.trace("work")
    assert "the token is [MASKED]." in log and "glpat-[MASKED]" in log and "abcdefghijklmnopqrst" not in log
    page = world.root.sign_in().get(run.job("work").web_url, timeout=10).text
    assert "[MASKED]" in page and token not in page


def test_the_log_has_sections_and_colours(world: World) -> None:
    run = world.ci("work:\n  script: [\"echo -e '\\\\e[31mred\\\\e[0m & <b>'\"]\n  after_script: [echo after]\n").end("success")
    raw = run.job("work").trace().decode()
    started = re.findall(r"section_start:\d+:([a-z_]+)", raw)
    ended = re.findall(r"section_end:\d+:([a-z_]+)", raw)
    assert started == ended and {"prepare_executor", "get_sources", "step_script", "after_script"} <= set(started)
    assert "\x1b[31mred" in raw
    page = world.root.sign_in().get(run.job("work").web_url, timeout=10).text
    assert "red" in page and "&amp; &lt;b&gt;" in page and "\x1b" not in page and "section_start" not in page
    shown = requests.get(f"{run.job('work').web_url}/raw", headers={"PRIVATE-TOKEN": world.root.token}, timeout=10)
    assert shown.status_code == 200 and shown.headers["Content-Type"].startswith("text/plain")


def test_the_log_arrives_while_the_job_runs(world: World, gates: Gates) -> None:
    word = unique("live")
    run = world.ci(f"work:\n  script: [echo first line, {gates.wait_command(word)}, echo last line]\n")
    gates.wait_for_arrival(word)
    wait_for("the first line", lambda: "first line" in run.trace("work"), 5)
    assert run.job("work").status == "running" and "\nlast line" not in run.trace("work")
    gates.open(word)
    run.end("success")
    assert "last line" in run.trace("work")


def test_a_log_of_many_lines_is_whole(world: World) -> None:
    run = world.ci("work:\n  script: [seq 1 60000]\n").end("success")
    numbers = [int(it) for it in run.trace("work").splitlines() if it.isdigit()]
    assert numbers == list(range(1, 60001))
    assert len(world.root.sign_in().get(run.job("work").web_url, timeout=30).text) < 20 << 20
