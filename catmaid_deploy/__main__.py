"""Prints the folder of the deploy: ``pyinfra inventories/prod.py $(catmaid-deploy)/deploy.py``."""

from pathlib import Path


def main() -> None:
    here = Path(__file__).resolve().parent
    print(here if (here / "deploy.py").is_file() else here.parent)


if __name__ == "__main__":
    main()
