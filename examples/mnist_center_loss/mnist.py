"""MNIST's four files: read, unpacked, and checked by the MD5 of what is in them."""
import gzip
import hashlib
import io
import zlib

import numpy as np

# Bytes before the content proper, how many images or labels, and the MD5 of the uncompressed file.
FILES = {
    "train-images-idx3-ubyte": (16, 60000, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": (8, 60000, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": (16, 10000, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": (8, 10000, "27ae3e4e09519cfbb04c329615203637"),
}
PIXELS = 28 * 28


class Damaged(Exception):
    """A file is not what it should be: the text says how."""


def size(name):
    """How many bytes the uncompressed file `name` has."""
    header, count, _ = FILES[name]
    return header + count * (PIXELS if "images" in name else 1)


def unpack(name, content):
    """The uncompressed content of the file `name`, from its gzip form.

    Raises:
        Damaged: `content` is truncated, is not gzip, or is not this file.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            content = file.read(size(name) + 1)  # one byte more shows that a file is too long
            if len(content) == size(name):
                file.read(1)  # the end: gzip's own checksum
    except EOFError:
        raise Damaged("{}.gz is truncated".format(name))
    except (OSError, zlib.error):
        raise Damaged("{}.gz is not a gzip file, or a damaged one".format(name))
    return checked(name, content)


def checked(name, content):
    """`content`, which has to be the uncompressed file `name`.

    Raises:
        Damaged: it is not.
    """
    if len(content) < size(name):
        raise Damaged("{} is truncated: {} of {} bytes".format(name, len(content), size(name)))
    if hashlib.md5(content).hexdigest() != FILES[name][2]:
        raise Damaged("{} has another content than MNIST's, by its MD5".format(name))
    return content


def read(folder, name):
    """The uncompressed, checked content of the file `name` in `folder`, where it may stand with or without ``.gz``.

    Raises:
        FileNotFoundError: it is there in neither form.
        OSError: it cannot be read.
        Damaged: it is not what it should be.
    """
    packed = folder / (name + ".gz")
    if packed.exists():
        return unpack(name, packed.read_bytes())
    return checked(name, (folder / name).read_bytes())


def arrays(contents):
    """Images, float32 in [0, 1], ``(count, 1, 28, 28)``, and labels, float32, ``(count,)``: of training, then of test.

    Args:
        contents: the uncompressed content of each of `FILES` by name.
    """
    result = []
    for name, (header, count, _) in FILES.items():
        array = np.frombuffer(contents[name], np.uint8, offset=header)
        if "images" in name:
            result.append(array.reshape(count, 1, 28, 28).astype(np.float32) / 255)
        else:
            result.append(array.astype(np.float32))
    return result
