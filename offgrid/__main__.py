"""`python -m offgrid`, and the entry of the zipapp."""

import sys

from offgrid.cli import main

if __name__ == "__main__":
    sys.exit(main())
