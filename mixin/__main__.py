"""`python -m mixin`: write the rules and the dashboards."""

import argparse
import sys
from pathlib import Path

from mixin.files import files
from mixin.settings import Settings, SettingsError, parse


def main(arguments: list[str] | None = None) -> int:
    """Write every file; 0: done, 2: the settings or the output cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m mixin", description=__doc__)
    parser.add_argument(
        "--settings", metavar="FILE", type=Path, help="YAML, dashboards/README.md"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("dashboards")
    )
    given = parser.parse_args(arguments)
    try:
        settings = _settings(given.settings)
        given.output.mkdir(parents=True, exist_ok=True)
        for name, text in files(settings).items():
            (given.output / name).write_text(text)
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _settings(file: Path | None) -> Settings:
    return parse(file.read_bytes(), str(file)) if file else Settings()


if __name__ == "__main__":
    sys.exit(main())
