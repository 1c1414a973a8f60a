"""A bar for downloads, in a terminal alone."""
import io

from examples.mnist_center_loss.progress import DownloadBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_download_has_a_bar_in_a_terminal_alone():
    for stream in (Terminal(), io.StringIO()):
        bar = DownloadBar(stream)
        bar("train-images", 10, 100)
        bar("train-images", 100, 100)
        bar("train-labels", 5, 0)
        bar.close()
        assert ("download train-images" in stream.getvalue()) == stream.isatty()
        assert ("download train-labels" in stream.getvalue()) == stream.isatty()
