"""`python -m mixin`: write the rules and the dashboards."""

import argparse
import sys
from pathlib import Path

from mixin.files import generated_files
from mixin.settings import Settings, SettingsError, parse_settings


def main(arguments: list[str] | None = None) -> int:
    """Write all files. Exits 2 if the settings or the output directory are invalid."""
    parser = argparse.ArgumentParser(prog="python -m mixin", description=__doc__)
    parser.add_argument(
        "--settings", metavar="FILE", type=Path, help="YAML, dashboards/README.md"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("dashboards")
    )
    options = parser.parse_args(arguments)
    try:
        settings = _read_settings(options.settings)
        options.output.mkdir(parents=True, exist_ok=True)
        for name, text in generated_files(settings).items():
            (options.output / name).write_text(text)
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _read_settings(file: Path | None) -> Settings:
    return parse_settings(file.read_bytes(), str(file)) if file else Settings()


if __name__ == "__main__":
    sys.exit(main())
