"""Where conf/ and experiments/ lie: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def _resource(name: str) -> Path:
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


CONF = _resource("conf")
EXPERIMENTS = _resource("experiments")
