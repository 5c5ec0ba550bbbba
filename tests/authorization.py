"""What everyone is answered on every route."""

PERSONAS = ("anonymous", "stranger", "reporter", "maintainer", "admin")
TABLE: dict[tuple[str, str], tuple[str, ...]] = {}
