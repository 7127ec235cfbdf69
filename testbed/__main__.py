"""What the Makefile calls."""

from __future__ import annotations

import sys

from testbed import demo, hosts, images
from testbed.podman import BedError, check_machine


def main() -> int:
    hosts.exit_on_signals()
    try:
        check_machine()
        hosts.remove_orphans()
        match sys.argv[1:]:
            case ["demo"]:
                demo.up()
            case ["demo-down"]:
                demo.down()
            case ["bench"]:
                from testbed import bench

                bench.main()
            case ["pictures"]:
                from testbed import pictures

                pictures.main()
            case ["test-vagrant"]:
                from testbed import vagrant

                vagrant.test()
            case ["clean"]:
                demo.down()
                images.remove_all()
            case _:
                print("usage: python -m testbed demo|demo-down|test-vagrant|pictures|bench|clean", file=sys.stderr)
                return 2
    except BedError as error:
        print(f"--> {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("--> interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
