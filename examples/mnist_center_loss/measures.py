"""What center loss does to an embedding, in five numbers that are taken of every model in the same way."""
import mxnet as mx
import numpy as np

from .network import NUM_CLASS, without_heads

CENTERS = "class means of the training images' embeddings, for every model"
COLUMNS = (
    ("test_accuracy", "test accuracy", "{:.2%}"),
    ("nearest_center_accuracy", "nearest-center accuracy", "{:.2%}"),
    ("own_center_distance", "distance to own center", "{:.3f}"),
    ("between_center_distance", "distance between centers", "{:.3f}"),
    ("distance_ratio", "ratio", "{:.4f}"),
)


def outputs(net, arg_params, aux_params, image, context, batch_size=500):
    """The embedding of images, ``(count, 2)``, and their scores, ``(count, 10)``, as NumPy arrays.

    Args:
        net: the Symbol that was trained.
        arg_params, aux_params: its parameters and auxiliary states.
        image: ``(count, 1, 28, 28)``.
        context: where to compute.
        batch_size: images at a time.
    """
    module = mx.mod.Module(without_heads(net), label_names=(), context=context)
    images = mx.io.NDArrayIter(image, batch_size=min(batch_size, len(image)))
    module.bind(images.provide_data, for_training=False)
    module.set_params(arg_params, aux_params, allow_extra=True)
    return [output.asnumpy() for output in module.predict(images)]


def class_means(embedding, label):
    """The mean embedding of each class, ``(10, feature_size)``; each class has to be there."""
    return np.stack([embedding[label == digit].mean(axis=0, dtype=np.float64) for digit in range(NUM_CLASS)])


def measure(embedding, scores, label, centers):
    """How well the classes of test images stand apart.

    Args:
        embedding: ``(count, feature_size)``.
        scores: ``(count, 10)``; the greatest is the network's answer.
        label: ``(count,)``.
        centers: of the classes, ``(10, feature_size)``.

    Returns:
        A dict: test_accuracy, of the network; nearest_center_accuracy, of the class whose center is nearest;
        own_center_distance, the mean over images to the center of their own class; between_center_distance, the mean
        over pairs of different centers; distance_ratio, the former distance by the latter.
    """
    label = label.astype(int)
    distance = distances(embedding.astype(np.float64), centers)
    between = distances(centers, centers)[np.triu_indices(len(centers), 1)].mean()
    own = distance[np.arange(len(label)), label].mean()
    return {
        "test_accuracy": float((scores.argmax(axis=1) == label).mean()),
        "nearest_center_accuracy": float((distance.argmin(axis=1) == label).mean()),
        "own_center_distance": float(own),
        "between_center_distance": float(between),
        "distance_ratio": float(own / between) if between else None,
    }


def distances(point, center):
    """Euclidean distance of each point to each center, ``(points, centers)``."""
    return np.linalg.norm(point[:, None] - center[None], axis=2)


def table(models):
    """The numbers of `measure` as lines of text, a column per model.

    Args:
        models: pairs (title, dict of `measure`).
    """
    rows = [[""] + [title for title, _ in models]]
    for key, name, form in COLUMNS:
        rows.append([name] + ["-" if measures[key] is None else form.format(measures[key]) for _, measures in models])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in
                                                              zip(row[1:], widths[1:])]) for row in rows)
