"""``python -m examples.mnist_center_loss``."""
import os
import sys

EXTRAS = ("matplotlib", "tqdm", "sklearn", "tensorboardX")


def start():
    """Run the command, unless something that it needs is not installed."""
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # MXNet would write lines through the progress bar
    try:
        from .cli import main
        return main()
    except ImportError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        print("python -m examples.mnist_center_loss: {} is missing: pip install mxloss[examples]".format(error.name),
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while the modules are being loaded
        return 130


if __name__ == "__main__":
    sys.exit(start())
