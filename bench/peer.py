"""The peer of clone and push: stock `git http-backend` behind nginx and fcgiwrap, without authentication."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import time

import requests

from measure import GIT_ENV, free_port, git

NGINX = """
daemon off; error_log {root}/error.log; pid {root}/nginx.pid; {user}
worker_processes 2;
events {{ worker_connections 256; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {root}/body; fastcgi_temp_path {root}/fastcgi;
    proxy_temp_path {root}/proxy; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            fastcgi_pass unix:{root}/fcgi.sock;
            fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;
            fastcgi_param GIT_PROJECT_ROOT {root}/repos;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param REMOTE_USER bench;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
            fastcgi_param GIT_PROTOCOL $http_git_protocol;
            fastcgi_buffering off;
            fastcgi_request_buffering off;
            fastcgi_read_timeout 600;
        }}
    }}
}}
"""


@contextlib.contextmanager
def http_backend():
    """Runs the peer and yields (URL, directory of its repositories)."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="rave-peer-"))
    repos = root / "repos"
    repos.mkdir()
    port = free_port()
    import os
    user = "user root;" if os.getuid() == 0 else ""
    (root / "nginx.conf").write_text(NGINX.format(root=root, port=port, user=user))
    wrapper = subprocess.Popen(["fcgiwrap", "-c", "4", "-s", f"unix:{root}/fcgi.sock"], env=GIT_ENV)
    nginx = subprocess.Popen(["nginx", "-c", root / "nginx.conf", "-e", root / "error.log"], env={**GIT_ENV, "PATH": GIT_ENV["PATH"] + ":/usr/sbin"})
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(url, timeout=5)
                break
            time.sleep(0.02)
        yield url, repos
    finally:
        for process in (nginx, wrapper):
            process.terminate()
            process.wait(timeout=20)
        shutil.rmtree(root, ignore_errors=True)


def bare(repos, name):
    path = repos / f"{name}.git"
    git("init", "-q", "--bare", "-b", "main", path)
    git("config", "http.receivepack", "true", cwd=path)
    return path
