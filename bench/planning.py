"""Planning on a laptop: `rave ci list` against gitlab-ci-local, on the same generated files."""

import os
import pathlib
import resource
import shutil
import subprocess
import tempfile

import measure

PEER = "gitlab-ci-local"
# The first that runs the peer's modules.
NODE = 22


def generated(count):
    """Returns a file with so many jobs that extend, refer, need and have rules."""
    stages = [f"stage-{number}" for number in range(10)]
    lines = [f"stages: [{', '.join(stages)}]", "default: {image: debian}", "variables: {MODE: fast, LEVEL: '3'}"]
    for number in range(10):
        lines += [
            f".base-{number}:",
            f"  stage: stage-{number}",
            "  before_script: [echo prepare]",
            f"  variables: {{PART: 'part-{number}'}}",
            "  artifacts: {paths: [out], expire_in: 1 week}",
        ]
    for number in range(count):
        stage, before = number % 10, number - 1
        lines += [
            f"job-{number}:",
            f"  extends: .base-{stage}",
            f"  variables: {{NUMBER: '{number}'}}",
            f"  script: [!reference [.base-{stage}, before_script], echo $PART $NUMBER]",
            "  rules:",
            '    - if: $CI_PIPELINE_SOURCE == "schedule" && $MODE != "fast"',
            "      when: never",
            '    - if: $CI_COMMIT_BRANCH =~ /^(main|release-.*)$/',
            "      variables: {LEVEL: '4'}",
        ]
        if stage:
            lines.append(f"  needs: [job-{before}]")
    return "\n".join(lines) + "\n"


def tree(directory, count):
    directory.mkdir(parents=True)
    measure.git("init", "-q", "-b", "main", cwd=directory)
    measure.git("remote", "add", "origin", "https://gitlab.com/bench/planning.git", cwd=directory)
    measure.commit_file(directory, ".gitlab-ci.yml", generated(count) if count > 1 else "job:\n  script: make\n")
    return directory


def cost(command, directory, home):
    """Returns CPU seconds and peak memory of a command with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    process = subprocess.Popen(command, cwd=directory, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    said = process.stderr.read().decode(errors="replace")
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed: {said}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return cpu, usage.ru_maxrss * 1024


def peer(scratch):
    """Installs the peer, and a Node that runs it, into a scratch directory. Returns how it is called."""
    (scratch / "package.json").write_text("{}")
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", PEER, f"node@{NODE}"], cwd=scratch, check=True)
    return [str(scratch / "node_modules/node/bin/node"), str(scratch / f"node_modules/{PEER}/dist/index.js")]


def planning():
    """CPU time of listing a file's jobs, process start and git included, against gitlab-ci-local."""
    figures = {}
    mib = 1 << 20
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        other = None
        if shutil.which("npm"):
            (scratch / "peer").mkdir()
            other = peer(scratch / "peer")
        for count, target in ((1, "under 10"), (1000, "under 50"), (5000, "under 300")):
            directory = tree(scratch / f"tree-{count}", count)
            own = [os.path.abspath(measure.BINARY), "ci", "list", "--json"]
            fresh = [cost([*own, "--no-cache"], directory, scratch) for _ in range(9)]
            cost(own, directory, scratch)
            cached = [cost(own, directory, scratch) for _ in range(9)]
            name = "1 job" if count == 1 else f"{count} jobs"
            cpu = measure.median([it[0] for it in fresh])
            figures[f"{name}: CPU"] = (cpu * 1000, "ms", target)
            figures[f"{name}: memory"] = (max(it[1] for it in fresh) / mib, "MiB", "under 60" if count == 1000 else "")
            figures[f"{name}, unchanged: CPU"] = (measure.median([it[0] for it in cached]) * 1000, "ms", "under 10")
            if other and count <= 1000:
                theirs = measure.median([cost([*other, "--list-json"], directory, scratch)[0] for _ in range(3)])
                figures[f"{name}: CPU of the peer"] = (theirs * 1000, "ms", "")
                figures[f"{name}: the peer's CPU by ours"] = (theirs / cpu, "x", "over 150" if count == 1000 else "")
    return figures
