"""A stand-in for a Vault, which the package registries do not have."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import requests

from .world import World


def verified(world: World, token: str, audience: str) -> dict[str, object]:
    """Verifies a token as any relying party does: by what the issuer publishes."""
    issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
    document = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
    assert document["issuer"] == issuer == world.server.url
    key = jwt.PyJWKClient(document["jwks_uri"]).get_signing_key_from_jwt(token)
    return jwt.decode(token, key.key, algorithms=["RS256"], audience=audience, issuer=issuer)


class Vault:
    """Speaks the parts of Vault's API that a job's secrets need, and verifies logins as a Vault does.

    A real Vault cannot be had from the package registries.
    """

    def __init__(self, world: World):
        vault = self
        self.asked: list[str] = []
        self.revoked = 0

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                vault.asked.append(self.path)
                if self.path == "/v1/auth/token/revoke-self":
                    vault.revoked += self.headers["X-Vault-Token"] == "s.login"
                    return self.answer(204, {})
                login = json.loads(body)
                try:
                    claims = verified(world, login["jwt"], "https://vault.test")
                except jwt.PyJWTError as error:
                    return self.answer(400, {"errors": [f"error validating token: {error}"]})
                if login.get("role") != "deploy" or claims["ref"] != "main":
                    return self.answer(400, {"errors": ["role \"other\" could not be found"]})
                self.answer(200, {"auth": {"client_token": "s.login"}})

            # OpenBao's client, which the stock runner uses, writes by this method.
            do_PUT = do_POST

            def do_GET(self) -> None:
                vault.asked.append(self.path)
                if self.headers["X-Vault-Token"] != "s.login" or self.headers["X-Vault-Namespace"] != "team":
                    return self.answer(403, {"errors": ["permission denied"]})
                versioned = {"/v1/ops/data/production/db": {"password": "correct-horse-battery", "port": 5432}}
                if self.path in versioned:
                    return self.answer(200, {"data": {"data": versioned[self.path], "metadata": {}}})
                if self.path == "/v1/old/plain":
                    return self.answer(200, {"data": {"word": "unversioned-word"}})
                self.answer(404, {"errors": []})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
