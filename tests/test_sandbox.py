"""Jobs are kept from the server, the host and each other."""

import os
import re

from harness.gate import Gates
from harness.world import World, unique


def test_the_sandbox_hides_the_server_and_the_host(world: World) -> None:
    data = world.server.data
    server = world.server.process
    assert server
    hostile = f"""
work:
  script:
    - |
      set +e
      ls {data} && echo "LEAK data directory"
      cat {data}/keys/embedded-runner-token && echo "LEAK key"
      cat {data}/rave.db > /dev/null && echo "LEAK database"
      ls {data.parent} && echo "LEAK scratch"
      cat /etc/shadow && echo "LEAK shadow"
      kill -0 {server.pid} && echo "LEAK host pid"
      ls /proc | grep -x {server.pid} && echo "LEAK proc"
      ps -e -o args 2>/dev/null | grep -v grep | grep "rave up" && echo "LEAK processes"
      tr '\\0' '\\n' < /proc/1/environ | grep -i rave_ && echo "LEAK environment"
      touch /usr/owned && echo "LEAK writable system"
      touch /etc/owned && echo "LEAK writable etc"
      echo x > /proc/sys/kernel/hostname && echo "LEAK kernel"
      mount -t tmpfs none /mnt && echo "LEAK mount"
      ls /root && echo "LEAK root's home"
      ls /sys/fs/cgroup/*/rave* >/dev/null && touch /sys/fs/cgroup/memory/x && echo "LEAK cgroup"
      mkdir -p "$HOME/x" && touch /tmp/here && echo "home and tmp are writable"
      echo "user $(id -u) sees $(ls /proc | grep -c '^[0-9]') processes"
      true
"""
    run = world.ci(hostile).end("success")
    log = run.trace("work")
    leaks = [line for line in log.splitlines() if line.startswith("LEAK")]
    assert leaks == [] and "home and tmp are writable" in log
    seen = re.search(r"user \d+ sees (\d+) processes", log)
    assert seen and int(seen[1]) < 10, log


def test_jobs_do_not_see_each_other(world: World, gates: Gates) -> None:
    word = unique("spy")
    marker = f"rave-neighbour-{os.getpid()}"
    yaml = f"""
secret:
  script: ['echo treasure > /tmp/treasure', 'bash -c "exec -a {marker} sleep 300" &', {gates.wait_command(word)}]
spy:
  script:
    - {gates.wait_command(word + "-spy")}
    - test ! -e /tmp/treasure
    - '! grep -al {marker} /proc/[0-9]*/cmdline | grep -v self'
    - '! find / -xdev -name treasure 2>/dev/null | grep .'
"""
    run = world.ci(yaml)
    gates.wait_for_arrival(word)
    gates.open(word + "-spy")
    spy = run.wait_for_job("spy", "success", "failed")
    gates.open(word)
    assert spy.status == "success", run.trace("spy")
    run.end("success")


def test_a_fork_bomb_is_contained(world: World) -> None:
    run = world.ci("bomb:\n  timeout: 5 seconds\n  script: ['for i in $(seq 6000); do sleep 30 & done; echo survived']\n").end("failed")
    assert run.job("bomb").failure_reason in ("script_failure", "job_execution_timeout")
    assert world.server.get("/-/ready").status_code == 200
