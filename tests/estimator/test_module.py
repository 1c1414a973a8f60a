"""The same network, numbers and data reach the same losses in Module and in the Estimator."""
import mxnet as mx
import pytest

import mxloss
from mxloss.estimator import MetricsFile
from mxloss.watch import Records

from .network import contexts, samples
from .test_center_loss import made, parts


def data():
    return mxloss.io.ArrayIter(*samples(24), 8, shuffle=True, seed=3, label_name=("softmax_label", "center_label"))


def module_losses(devices, epochs):
    net, losses, _ = parts(1)
    center = losses._children["center"]
    classes, embedding = net(mx.sym.var("data"))
    symbol = mx.sym.Group([mx.sym.SoftmaxOutput(classes, mx.sym.var("softmax_label"), name="softmax"),
                           mx.sym.MakeLoss(center(embedding, mx.sym.var("center_label")), name="center")])
    module = mx.mod.Module(symbol, label_names=("softmax_label", "center_label"), context=contexts(devices))
    numbers = {name: parameter.data() for name, parameter in
               {**net.collect_params(), **losses.collect_params()}.items()}
    metric, reached = mxloss.metric.from_symbol(symbol), []
    module.fit(data(), eval_metric=metric, num_epoch=epochs, arg_params=numbers, allow_missing=True, kvstore="device",
               optimizer="withcenters", optimizer_params={"base": "sgd", "learning_rate": 0.1, "momentum": 0.9},
               epoch_end_callback=lambda *_: reached.append(dict(metric.get_global_name_value())))
    return reached


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_module_and_estimator_reach_the_same_losses(tmp_path, devices, hybridize):
    made(devices, hybridize).fit(data(), epochs=3, event_handlers=MetricsFile(tmp_path / "metrics.jsonl"))
    reached = Records(tmp_path / "metrics.jsonl").read()
    for ours, modules in zip(reached, module_losses(devices, 3)):
        assert ours["softmax"] == pytest.approx(modules["softmax_loss"], rel=1e-5)
        assert ours["center"] == pytest.approx(modules["center"], rel=1e-5)
        assert ours["total_loss"] == pytest.approx(modules["total_loss"], rel=1e-5)
    assert reached[2]["total_loss"] < reached[0]["total_loss"]
