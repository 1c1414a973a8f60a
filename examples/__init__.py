"""Examples of mxloss, run from the root of the repository: ``python -m examples.mnist_center_loss``."""
