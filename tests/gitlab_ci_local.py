"""Runs the cases of a checkout of gitlab-ci-local through `rave ci`, and says which pass.

    python tests/gitlab_ci_local.py CHECKOUT [CASE...] [--table FILE]

What a case runs and which lines its jobs are to print is read from its own test. Whether that is right is GitLab's to say:
where GitLab decides otherwise than the peer, `DIFFERS` says how. Cases that need what this driver has not (containers, a
network, a terminal) or that are about the peer's own options are left out, with the reason. Ends with 1 when a case is
not as expected.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

BINARY = Path(os.environ.get("RAVE_BINARY", "target/debug/rave")).resolve()
LIMIT_SECS = 120

CONTAINER = "needs a container"
NETWORK = "needs a server that answers"
OWN = "is about an option of the peer's own"
TERMINAL = "needs a terminal"

# By directory, or by directory and name of the test.
OUT = {
    **dict.fromkeys(
        """cache-docker-mount-globstar custom-ca-cert dind-no-tls dind-tls extra-host image local-registry mac-address network-alias-build
        network-arg services shm-size umask artifacts-docker-readonly-permissions cache-docker-readonly-permissions""".split(),
        CONTAINER,
    ),
    **dict.fromkeys("include-project-file include-project-file-wildcard include-remote include-template".split(), NETWORK),
    **dict.fromkeys("include-project-file-ref-with-inner-local include-project-file-with-variable".split(), NETWORK),
    **dict.fromkeys(
        """argv-dotenv-ignore-predefined-vars component-inputs-cli component-inputs-edge-cases component-inputs-multiple custom-home
        dependency-proxy dotenv gcl-env-variable-split gitlab-runner-emulation log-padding log-timestamps pipeline-iid project-ignores-file
        remote-variables-file schema-validation schema-validation-ignore validate-dependency-chain project-variables-file""".split(),
        OWN,
    ),
    **dict.fromkeys("interactive interactive-image hang-forever".split(), TERMINAL),
    "argv-cwd: won't fallback if not inside git repository": OWN,
    "argv-cwd: won't fallback if --file flag is set": OWN,
    "argv-cwd: won't fallback if --cwd flag is set": OWN,
    "predefined-variables: predefined-variables <shell-isolation> --shell-isolation": OWN,
    "artifacts-dotenv: artifacts-dotenv <use-service-ref> --needs": CONTAINER,
    **{
        f"include-component: include-component component {kind}": NETWORK
        for kind in (
            "(protocol: https)",
            "(protocol: https) (minor semver)",
            "(protocol: https) (major semver)",
            "(protocol: https) (~latest semver)",
            "(non semver tag)",
        )
    },
    "rules-changes: rules:changes --no-evaluate-rule-changes (no changes)": OWN,
}

PARTIAL = "GitLab finds no copy of a matrix for a part of its variables, and refuses the file for one such need"
DIFFERS = {
    "artifacts-exclude": "for the runner `dir/**` is also the directory itself, so an emptied directory is left out",
    "cache-docker-mount": "GitLab refuses a cache key with a slash",
    "cache-key-files: cache-key-files <consume-cache> --shell-isolation --needs": "GitLab knows no variables in `cache:key:files`",
    "include-component: include-component local component": "GitLab gives `component.name` only to a file whose `spec:component` asks for it",
    "include-inputs: include-inputs inputs validation for string": "GitLab takes a number for a string",
    "include-inputs: include-inputs inputs validation for number": "GitLab reads a text that is JSON before it checks the type",
    "include-inputs: include-inputs inputs validation for boolean": "GitLab reads a text that is JSON before it checks the type",
    "include-inputs: include-inputs options array1 validation": "GitLab takes options of strings and numbers only",
    "include-rules: include-rules <build-job>": "the peer sets GITLAB_CI to false",
    "manual: manual --manual <pre-job>": "a manual job of rules blocks the stages after it",
    "manual: manual": "a pipeline that waits for a person is none that failed",
    "needs-empty-entry": "GitLab passes over an empty need",
    "needs-sequence: needs-sequence": "the artifacts of another project are not on this machine, so their job fails as it does on the server",
    "needs-parallel-matrix-expressions": PARTIAL,
    "needs-parallel-matrix-static": PARTIAL,
    "never-needs: never-needs <test-job-optional> --needs": "GitLab refuses the whole pipeline for one need that is not there",
}


@dataclass
class Step:
    """One call of the peer's program."""

    options: dict[str, object]

    def texts(self, key: str) -> list[str]:
        value = self.options.get(key, [])
        return [value] if isinstance(value, str) else [str(it) for it in value] if isinstance(value, list) else []

    def has(self, key: str) -> bool:
        return bool(self.options.get(key))


@dataclass
class Case:
    """One test of the peer's."""

    directory: str
    name: str
    steps: list[Step]
    # Lines by job.
    lines: list[tuple[str, str]]
    refused: bool
    # Jobs that fail; `None`: nothing is said.
    failed: list[str] | None

    @property
    def key(self) -> str:
        return f"{self.directory}: {self.name}"


@dataclass
class Outcome:
    problems: list[str] = field(default_factory=list)


def braces(text: str, start: int) -> int:
    """Returns where the bracket that opens at `start` closes."""
    depth, quote = 0, ""
    at = start
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'`":
            quote = letter
        elif letter in "{[(":
            depth += 1
        elif letter in "}])":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise ValueError("a bracket does not close")


def value(text: str) -> object:
    """Reads a literal: a text, a list of texts, a truth value. Anything else is itself."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    if text[:1] in "\"'`":
        return unescaped(text[1:-1])
    if text.startswith("["):
        return [unescaped(it[1:-1]) for it in re.findall(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`", text)]
    return text


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda it: {"n": "\n", "t": "\t"}.get(it[1], it[1]), text)


def options(text: str) -> dict[str, object]:
    """Reads an object of options."""
    found, at = {}, 0
    while match := re.compile(r"\s*(?:\.\.\.\w+|(\w+)\s*:?)\s*").match(text, at):
        at, start = match.end(), match.end()
        while at < len(text) and text[at] != ",":
            at = braces(text, at) + 1 if text[at] in "{[(\"'`" and text[at] in "{[(" else quoted(text, at)
        if match[1]:
            found[match[1]] = value(text[start:at])
        at += 1
    return found


def quoted(text: str, at: int) -> int:
    """Passes over a text, or one letter."""
    if text[at] not in "\"'`":
        return at + 1
    end = at + 1
    while text[end] != text[at]:
        end += 2 if text[end] == "\\" else 1
    return end + 1


def cases(directory: Path) -> Iterator[Case]:
    for file in sorted(directory.glob("*.test.ts")):
        text = file.read_text()
        constants = {key: word for key, word in re.findall(r"^const (\w+) = [\"']([^\"']*)[\"'];", text, re.M)}
        text = re.sub(r"\$\{(\w+)\}", lambda it: constants.get(it[1], it[0]), text)
        for match in re.finditer(r"\btest(?:\.\w+)*\(\s*([\"'`])(.*?)\1", text):
            # Up to the line that closes it: regular expressions in between may hold any bracket.
            indent = re.search(r"[ \t]*$", text[: match.start()])[0]
            closing = re.compile(rf"^{indent}\}}.*\);?$", re.M).search(text, match.end())
            body = text[match.start() : closing.end() if closing else len(text)]
            steps = []
            for call in re.finditer(r"\bhandler\(\{", body):
                end = braces(body, call.end() - 1)
                steps.append(Step(options(body[call.end() : end])))
            line = re.compile(r"chalk`\{blueBright ([^}]*?)\s*\} \{greenBright >\} (.*?)`(?:,|\]|\)|;|$)", re.M)
            body = re.sub(r"\.not\.toEqual\(expect\.arrayContaining\(\[.*?\]\)\)", "", body, flags=re.S)
            lines = [(name(plain(it[1])), plain(it[2])) for it in line.finditer(body)]
            # What git is pretended to say has changed.
            for changed in re.findall(r"diff\", \"--name-only.*?stdout: \"([^\"]*)\"", body, re.S):
                for step in steps:
                    step.options["changes"] = changed
            refused = "AssertionError" in body or "rejects" in body or "toThrow" in body or "e.message" in body
            failed = re.findall(r"bgRed  FAIL \} \{blueBright ([^}]*?)\s*\}", body)
            quiet = re.search(r"not\.(toMatch\(/FAIL/|toContain\(\"FAIL)", body)
            yield Case(directory.name, match[2], steps, lines, refused, failed or ([] if quiet else None))


def plain(text: str) -> str:
    """Takes the colours out of a template."""
    text = re.sub(r"(?<!\\)\{(?:\w+(?:\.\w+)*) ([^{}]*)(?<!\\)\}", r"\1", text)
    return unescaped(text)


def name(job: str) -> str:
    """Returns a job's name as GitLab writes it."""
    job = re.sub(r": \[(\d+/\d+)\]$", r" \1", job)
    return re.sub(r",(?=\S)", ", ", job) if "[" in job else job


class Runner:
    """Runs cases, each in a copy of its own."""

    def __init__(self, checkout: Path, scratch: Path):
        self.cases, self.scratch = checkout / "tests" / "test-cases", scratch

    def environment(self, base: Path) -> dict[str, str]:
        person = {f"GIT_{who}_{what}": word for who in ("AUTHOR", "COMMITTER") for what, word in (("NAME", "Test"), ("EMAIL", "test@test.com"))}
        keep = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        return {**keep, **person, "HOME": str(base / "home"), "GIT_CONFIG_GLOBAL": "/dev/null", "RUST_BACKTRACE": "0"}

    def run(self, case: Case) -> Outcome:
        base = Path(tempfile.mkdtemp(dir=self.scratch))
        base.chmod(0o755)
        outcome = Outcome()
        try:
            shutil.copytree(self.cases, base / "tests" / "test-cases", symlinks=True, ignore=lambda at, names: self.others(case, at, names))
            (base / "home").mkdir()
            env = self.environment(base)
            prepared: set[Path] = set()
            logs: list[tuple[str, str]] = []
            for step in case.steps:
                cwd = str(step.options.get("cwd", ""))
                where = base / (cwd if cwd.startswith("tests/") else f"tests/test-cases/{case.directory}")
                if where not in prepared:
                    self.prepare(where, env)
                    prepared.add(where)
                self.step(case, step, where, env, outcome, logs)
            for job, line in case.lines:
                if not any(job in (it, "") and line.strip() in text for it, text in logs):
                    outcome.problems.append(f"{job} does not print {line!r}")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            outcome.problems.append(f"{type(error).__name__}: {str(error)[:200]}")
        finally:
            subprocess.run(["rm", "-rf", "--", str(base)], check=True)
        return outcome

    def others(self, case: Case, at: str, names: list[str]) -> list[str]:
        if Path(at) == self.cases:
            return [it for it in names if it != case.directory]
        return [it for it in names if it.endswith(".test.ts")]

    def prepare(self, where: Path, env: dict[str, str]) -> None:
        """Makes a repository of the case, as the peer's tests pretend there is."""
        given = where / ".gitlab-ci-local-variables.yml"
        if given.exists():
            pairs = re.findall(r"^([A-Za-z_]\w*): *(?:\{ *values: *\{ *\"\*\": *)?(.+?)[\s}]*$", given.read_text(), re.M)
            text = "".join(f"{key}={word.strip(chr(34) + chr(39))}\n" for key, word in pairs)
            (where / ".rave-ci.env").write_text(text)
        commands = [["init", "-q", "-b", "main"], ["remote", "add", "origin", "git@gitlab.com:gcl/test-project.git"], ["add", "--all"]]
        for command in [*commands, ["commit", "-q", "--allow-empty", "-m", "Test something"]]:
            subprocess.run(["git", *command], cwd=where, env=env, check=True, capture_output=True)

    def step(self, case: Case, step: Step, where: Path, env: dict[str, str], outcome: Outcome, logs: list[tuple[str, str]]) -> None:
        arguments = ["--json"]
        if file := step.options.get("file"):
            arguments += ["--file", str(file)]
        for variable in step.texts("variable"):
            arguments += ["--variable", variable]
        for given in step.texts("input"):
            arguments += ["--input", given]
        if "changes" in step.options:
            arguments += ["--changes", str(step.options["changes"])]
        looks = any(step.has(it) for it in ("list", "listAll", "listCsv", "listCsvAll", "listJson", "preview"))
        command = "list" if looks else "run"
        if not looks:
            arguments += ["--timeout", "60s", *map(name, step.texts("job"))]
            arguments += ["--needs"] if step.has("needs") or step.has("onlyNeeds") else []
            for job in step.texts("manual"):
                arguments += ["--manual", job]
            for stage in step.texts("stage"):
                arguments += ["--stage", stage]
        full = [str(BINARY), "ci", command, *arguments]
        done = subprocess.run(full, cwd=where, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECS)
        if done.returncode not in (0, 1, 2) or "panicked" in done.stderr:
            outcome.problems.append(f"ended with {done.returncode}: {done.stderr[-300:]}")
        said = next((it for it in done.stderr.splitlines() if it.startswith("error: ") and "is not valid" not in it), done.stderr.strip()[:200])
        events = [json.loads(it) for it in done.stdout.splitlines()] if command == "run" else []
        summary = next((it for it in events if it["event"] == "summary"), None)
        accepted = done.returncode == 0 if looks else summary is not None or done.returncode == 0
        if accepted == case.refused and step is case.steps[-1]:
            outcome.problems.append("is accepted" if accepted else f"is refused: {said}")
        elif not accepted and not case.refused:
            outcome.problems.append(f"is refused: {said}")
        logs += [(it["job"], it["line"]) for it in events if it["event"] == "log"]
        if summary is None:
            return
        failed = [it["name"] for it in summary["jobs"] if it["status"] == "failed"]
        if case.failed is not None and (missing := [it for it in case.failed if it not in failed] or (failed if case.failed == [] else [])):
            outcome.problems.append(f"{', '.join(missing)} {'fails' if case.failed == [] else 'does not fail'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("case", nargs="*")
    parser.add_argument("--table", type=Path, help="write the results as a table")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    args = parser.parse_args()
    directories = sorted(it for it in (args.checkout / "tests" / "test-cases").iterdir() if it.is_dir())
    every = [case for it in directories if not args.case or it.name in args.case for case in cases(it)]
    wanted = [it for it in every if reason_out(it) is None]
    with tempfile.TemporaryDirectory(prefix="rave-conformance-") as scratch, ThreadPoolExecutor(args.jobs) as pool:
        Path(scratch).chmod(0o755)
        runner = Runner(args.checkout.resolve(), Path(scratch))
        outcomes = {}
        for case, outcome in zip(wanted, pool.map(runner.run, wanted), strict=True):
            outcomes[case.key] = outcome
            print("." if not outcome.problems else f"\n{case.key}: {'; '.join(outcome.problems)}", end="", flush=True)
        print()
    return report(every, outcomes, args.table)


def reason_out(case: Case) -> str | None:
    return OUT.get(case.key) or OUT.get(case.directory)


def report(every: list[Case], outcomes: dict[str, Outcome], table: Path | None) -> int:
    rows, bad = [], 0
    for case in every:
        if reason := reason_out(case):
            rows.append((case.key, "left out", reason))
            continue
        problems = outcomes[case.key].problems
        differs = DIFFERS.get(case.key) or DIFFERS.get(case.directory)
        if not problems and not differs:
            rows.append((case.key, "refused" if case.refused else "passed", ""))
        elif problems and differs:
            rows.append((case.key, "differs", differs))
        else:
            bad += 1
            rows.append((case.key, "FAILED", "; ".join(problems) or f"as the peer, although {differs}"))
    for key, verdict, why in rows:
        if verdict == "FAILED":
            print(f"{verdict:9} {key}  {why}")
    counts = {it: sum(row[1] == it for row in rows) for it in ("passed", "refused", "differs", "left out", "FAILED")}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if table:
        lines = [f"| {key.replace('|', chr(92) + '|')} | {verdict} | {why.replace('|', chr(92) + '|')} |" for key, verdict, why in rows]
        table.write_text("\n".join(["| Case | Verdict | Why |", "|---|---|---|", *lines]) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
