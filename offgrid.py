#!/usr/bin/env python3
from offgrid.cli import main

raise SystemExit(main())
