"""``python -m mxloss.launch -n 2 -- python train.py``."""
import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
