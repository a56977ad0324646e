import sys

from mnist_sweep.cli import main

if __name__ == "__main__":
    sys.exit(main())
