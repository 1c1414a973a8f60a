"""The losses against implementations of other projects: values and gradients.

Optional: PyTorch, optax (on JAX), pytorch-metric-learning and kornia are no test requirements; the tests of what is not
installed are skipped. `pip install torch pytorch-metric-learning kornia "jax[cpu]==0.4.13" optax==0.1.7 "scipy<1.11"`
goes beside NumPy 1.23.
"""
import math

import mxnet as mx
import numpy as np
import pytest

import mxloss

RTOL = 1e-6  # float64 here; JAX and pytorch-metric-learning put in float32 constants and epsilons of their own


def ours(loss, *arrays):
    """Losses and the gradient of their sum by the first array."""
    arrays = [mx.nd.array(array, dtype=array.dtype) for array in arrays]
    arrays[0].attach_grad()
    with mx.autograd.record():
        losses = loss(*arrays)
    losses.backward()
    return losses.asnumpy(), arrays[0].grad.asnumpy()


def by_torch(function, *arrays):
    torch = pytest.importorskip("torch")
    arrays = [torch.from_numpy(array) for array in arrays]
    arrays[0].requires_grad_()
    losses = function(torch, *arrays)
    losses.sum().backward()
    return losses.detach().numpy(), arrays[0].grad.numpy()


def by_jax(function, *arrays):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    jax.config.update("jax_enable_x64", True)
    losses = function(optax, *arrays)
    return np.asarray(losses), np.asarray(jax.grad(lambda first: function(optax, first, *arrays[1:]).sum())(arrays[0]))


def assert_equal(got, wanted):
    for a, b in zip(got, wanted):
        np.testing.assert_allclose(a, b, rtol=RTOL, atol=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmax_is_torchs(rng, smoothing):
    pred, label = rng.randn(8, 5, 3) * 3, rng.randint(0, 5, (8, 3))
    label[::3, 1] = -1
    assert_equal(ours(lambda *a: mxloss.softmax_loss(*a, axis=1, ignore_label=-1, smoothing=smoothing), pred, label),
                 by_torch(lambda torch, pred, label: torch.nn.functional.cross_entropy(
                     pred, label, ignore_index=-1, label_smoothing=smoothing, reduction="none"), pred, label))


def test_softmax_is_optaxs(rng):
    pred, label = rng.randn(8, 5) * 3, rng.randint(0, 5, 8)
    target = np.eye(5)[label] * 0.8 + 0.2 / 5
    assert_equal(ours(lambda *a: mxloss.softmax_loss(*a, smoothing=0.2), pred, label),
                 by_jax(lambda optax, pred: optax.softmax_cross_entropy(pred, target), pred))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_smooth_l1_is_torchs(rng, sigma):
    pred, label = rng.randn(6, 8) * 2, rng.randn(6, 8)
    assert_equal(ours(lambda *a: mxloss.smooth_l1_loss(*a, sigma=sigma), pred, label),
                 by_torch(lambda torch, *a: torch.nn.functional.smooth_l1_loss(*a, beta=1 / sigma ** 2,
                                                                               reduction="none"), pred, label))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_smooth_l1_is_optaxs_huber_loss(rng, sigma):
    pred, label = rng.randn(6, 8) * 2, rng.randn(6, 8)
    assert_equal(ours(lambda *a: mxloss.smooth_l1_loss(*a, sigma=sigma), pred, label),
                 by_jax(lambda optax, *a: sigma ** 2 * optax.huber_loss(*a, delta=1 / sigma ** 2), pred, label))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.5), (0.5, 0.0)])
def test_focal_is_kornias(rng, alpha, gamma):
    kornia = pytest.importorskip("kornia.losses")
    pred, label = rng.randn(8, 5) * 3, rng.randint(0, 5, 8)
    assert_equal(ours(lambda *a: mxloss.focal_loss(*a, alpha=alpha, gamma=gamma), pred, label),
                 by_torch(lambda torch, pred: kornia.binary_focal_loss_with_logits(
                     pred, torch.eye(5, dtype=pred.dtype)[label], alpha, gamma, reduction="none").sum(dim=1), pred))


def test_focal_without_focus_is_optaxs_cross_entropy(rng):
    pred, label = rng.randn(8, 5) * 3, rng.randint(0, 5, 8)
    assert_equal(ours(lambda *a: mxloss.focal_loss(*a, alpha=0.5, gamma=0), pred, label),
                 by_jax(lambda optax, pred: optax.sigmoid_binary_cross_entropy(pred, np.eye(5)[label]).sum(axis=1) / 2,
                        pred))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 0.5)])
def test_focal_is_torchs_cross_entropy_modulated(rng, alpha, gamma):
    pred, label = rng.randn(8, 5) * 3, rng.randint(0, 5, 8)

    def focal(torch, pred):
        own = torch.nn.functional.one_hot(torch.from_numpy(label), 5).double()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(pred, own, reduction="none")
        return ((own * alpha + (1 - own) * (1 - alpha)) * (1 - torch.exp(-entropy)) ** gamma * entropy).sum(dim=1)
    assert_equal(ours(lambda *a: mxloss.focal_loss(*a, alpha=alpha, gamma=gamma), pred, label), by_torch(focal, pred))


@pytest.mark.parametrize(("name", "keywords", "margins"), [
    ("ArcFaceLoss", {"margin": math.degrees(0.5)}, {"m1": 1, "m2": 0.5, "m3": 0}),
    ("CosFaceLoss", {"margin": 0.35}, {"m1": 1, "m2": 0, "m3": 0.35}),
    ("SphereFaceLoss", {"margin": 4}, {"m1": 4, "m2": 0, "m3": 0}),
])
def test_margin_softmax_is_metric_learnings(rng, name, keywords, margins):
    torch = pytest.importorskip("torch")
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    feature, label, direction = rng.randn(8, 4), rng.randint(0, 5, 8), rng.randn(5, 4)
    if name == "ArcFaceLoss":  # beyond pi - 0.5 it goes on in another way than SphereFace does
        feature = direction[label] + 0.8 * rng.randn(8, 4)
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)  # of which SphereFace takes its scale
    other = getattr(losses, name)(5, 4, scale=16, **keywords).double()
    with torch.no_grad():
        other.W.copy_(torch.from_numpy(direction.T.copy()))
    head = mxloss.MarginSoftmaxLoss(5, 4, scale=16, dtype="float64", **margins)
    head.initialize()
    head.direction_weight.set_data(mx.nd.array(direction, dtype="float64"))
    got = ours(head, feature, label)
    wanted = by_torch(lambda torch, feature: 8 * other(feature, torch.from_numpy(label)), feature)
    if name == "SphereFaceLoss":  # leave out what would only change that length
        wanted = wanted[0], wanted[1] - (wanted[1] * feature).sum(axis=1, keepdims=True) * feature
    assert got[0].sum() == pytest.approx(float(wanted[0]), rel=1e-5)
    np.testing.assert_allclose(got[1], wanted[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(head.direction_weight.grad().asnumpy(), other.W.grad.numpy().T, rtol=1e-4, atol=1e-5)


def test_margin_softmax_without_margins_is_torchs_cross_entropy_of_cosines(rng):
    feature, label, direction = rng.randn(8, 4), rng.randint(0, 5, 8), rng.randn(5, 4)
    head = mxloss.MarginSoftmaxLoss(5, 4, scale=16, m2=0, dtype="float64")
    head.initialize()
    head.direction_weight.set_data(mx.nd.array(direction, dtype="float64"))
    assert_equal(ours(head, feature, label), by_torch(
        lambda torch, feature, label, direction: torch.nn.functional.cross_entropy(
            16 * torch.nn.functional.cosine_similarity(feature[:, None], direction[None], dim=2), label,
            reduction="none"), feature, label, direction))


def test_style_content_and_total_variation_are_torchs(rng):
    feature, other = rng.randn(3, 4, 5, 6), rng.randn(3, 4, 5, 6)

    def gram(torch, x):
        return torch.einsum("bihw,bjhw->bij", x, x)

    def style(torch, feature, other):
        distance = torch.nn.functional.mse_loss(gram(torch, feature), gram(torch, other), reduction="none")
        return distance.sum(dim=(1, 2)) / (4 * 4 ** 2 * 30 ** 2)  # 1 / (4 N^2 M^2), as the paper writes it
    assert_equal(ours(lambda a, b: mxloss.style_loss(a, mxloss.gram_matrix(b)), feature, other),
                 by_torch(style, feature, other))
    assert_equal(ours(mxloss.content_loss, feature, other),
                 by_torch(lambda torch, *a: torch.nn.functional.mse_loss(*a, reduction="none").sum(dim=(1, 2, 3)) / 2,
                          feature, other))
    assert_equal(ours(mxloss.total_variation_loss, feature),
                 by_torch(lambda torch, x: sum(torch.diff(x, dim=dim).square().sum(dim=(1, 2, 3)) for dim in (2, 3)),
                          feature))


def test_content_and_total_variation_are_optaxs_squares(rng):
    feature, other = rng.randn(3, 4, 5, 6), rng.randn(3, 4, 5, 6)
    assert_equal(ours(mxloss.content_loss, feature, other),
                 by_jax(lambda optax, *a: optax.l2_loss(*a).sum(axis=(1, 2, 3)), feature, other))
    assert_equal(ours(mxloss.total_variation_loss, feature), by_jax(
        lambda optax, x: 2 * (optax.l2_loss(x[:, :, 1:], x[:, :, :-1]).sum(axis=(1, 2, 3))
                              + optax.l2_loss(x[..., 1:], x[..., :-1]).sum(axis=(1, 2, 3))), feature))
