"""MNIST with softmax alone and with softmax + center loss: ``python -m examples.mnist_center_loss --help``."""
