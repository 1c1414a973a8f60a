"""``python -m examples.mnist_center_loss.launch -n 2 [options]``: the example in several workers on this machine."""
import sys

from mxloss.launch import main

COMMAND = [sys.executable, "-m", "examples.mnist_center_loss", "--kvstore", "dist_sync"]

if __name__ == "__main__":
    sys.exit(main(command=COMMAND))
