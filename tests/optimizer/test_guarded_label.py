"""A label that is no class changes nothing, whoever reads what and when, also in losses without centers."""
import json

import mxnet as mx
import numpy as np
import pytest

import mxloss
from tests.schedule_training import devices

IN, CLASSES = 5, 4


def loss_of(kind, score, label):
    if kind == "softmax":
        return mxloss.SoftmaxLoss(ignore_label=-1)(score, label)
    if kind == "focal":
        return mxloss.FocalLoss(background=True)(score, label)
    return mxloss.MarginSoftmaxLoss(CLASSES, CLASSES, prefix="margin_")(score, label)


def module(kind, number=1, saved=False, computed=False, grad_req="write"):
    data, label = mx.sym.var("data"), mx.sym.var("softmax_label")
    hidden = mx.sym.FullyConnected(data, num_hidden=64, name="hidden")
    score = mx.sym.FullyConnected(mx.sym.tanh(hidden), num_hidden=CLASSES, name="score")
    net = mx.sym.Group([mx.sym.MakeLoss(loss_of(kind, score, label * 1 if computed else label), name="loss"),
                        mx.sym.BlockGrad(score, name="score")])
    if saved:
        net = mx.sym.load_json(net.tojson())
    made = mx.mod.Module(net, context=devices(number))
    made.bind([("data", (8, IN))], [("softmax_label", (8,))], grad_req=grad_req)
    made.init_params(mx.init.Xavier())
    made.init_optimizer("device", "sgd", {"learning_rate": 0.1, "momentum": 0.9})
    return made


def batch(bad=None):
    label = np.arange(8) % CLASSES
    data = np.random.RandomState(3).normal(0, 1, (8, IN))
    if bad is not None:
        label = label.astype("float32")
        label[5] = bad
    return mx.io.DataBatch([mx.nd.array(data)], [mx.nd.array(label)])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("kind", "words"), [
    ("softmax", r"SoftmaxLoss: `label` must be a whole number in \[0, 3\] or -1, got 7.0 in row 5"),
    ("focal", r"FocalLoss: `label` must be a whole number in \[0, 4\], got 7.0 in row 5"),
    ("margin", r"MarginSoftmaxLoss: `label` must be a whole number in \[0, 3\], got 7.0 in row 5")])
def test_module_names_the_label_before_anything_has_moved(kind, words, number):
    made = module(kind, number, saved=True)
    for _ in range(20):
        made.forward_backward(batch())
        made.update()
        before = {name: array.asnumpy() for name, array in made.get_params()[0].items()}
        made.forward_backward(batch(7))
        with pytest.raises(ValueError, match="^" + words + "$"):
            made.update()
        made.get_outputs()[1].asnumpy()  # the reader that would make MXNet forget the error
        for name, array in made.get_params()[0].items():
            np.testing.assert_array_equal(array.asnumpy(), before[name], err_msg=name)


def test_a_label_that_the_network_computes_is_told_as_far_as_it_can_be_seen():
    made = module("softmax", computed=True)
    made.forward_backward(batch(7))
    with pytest.raises(ValueError, match="^SoftmaxLoss: `label` must be a class or -1, got 'another one in this "
                                         "batch, which has changed nothing'$"):
        made.update()


def test_fit_stops_at_the_bad_batch_whatever_its_metric_reads():
    label = np.arange(24) % CLASSES
    label[19] = CLASSES
    made = module("softmax")
    seen = []
    with pytest.raises(ValueError, match=r"SoftmaxLoss: `label` must be .*, got 4.0 in row 3"):
        made.fit(mx.io.NDArrayIter(np.ones((24, IN)), label, 8), num_epoch=1, eval_metric=mx.metric.Loss(),
                 batch_end_callback=lambda param: seen.append(param.nbatch))
    assert seen == [0, 1]


class Net(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__(prefix="net_")
        with self.name_scope():
            self.score = mx.gluon.nn.Dense(CLASSES, in_units=IN)
            self.loss = mxloss.SoftmaxLoss()

    def hybrid_forward(self, F, data, label):
        return self.loss(self.score(data), label)


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.parametrize(("number", "on_kvstore"), [(1, False), (2, False), (2, True)])
def test_a_hybridized_network_is_not_moved_either(number, on_kvstore, imported, tmp_path):
    made = Net()
    made.initialize(mx.init.Xavier(), ctx=devices(number))
    made.hybridize()
    if imported:
        for ctx in devices(number):
            made(batch().data[0].as_in_context(ctx), batch().label[0].as_in_context(ctx))
        made.export(str(tmp_path / "net"))
        made = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data0", "data1"],
                                            str(tmp_path / "net-0000.params"), ctx=devices(number))
    trainer = mx.gluon.Trainer(made.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9},
                               update_on_kvstore=on_kvstore)

    backward(made, number)
    trainer.step(8)
    before = {name: parameter.list_data()[0].asnumpy() for name, parameter in made.collect_params().items()}
    with pytest.raises(ValueError, match=r"^SoftmaxLoss: `label` must be a whole number in \[0, 3\], got 7.0 in row {}$"
                       .format(5 % (8 // number))):
        backward(made, number, 7)
    assert_unmoved(made, before)


def backward(made, number, bad=None):
    split = [mx.gluon.utils.split_and_load(array, devices(number))
             for array in (batch(bad).data[0], batch(bad).label[0])]
    with mx.autograd.record():
        losses = [made(*arrays) for arrays in zip(*split)]
    mx.autograd.backward(losses)
    return losses


def assert_unmoved(made, before):
    for name, parameter in made.collect_params().items():
        for array in parameter.list_data():
            np.testing.assert_array_equal(array.asnumpy(), before[name])


@pytest.mark.parametrize(("number", "on_kvstore"), [(1, False), (2, False), (2, True)])
def test_a_hybridized_network_that_computes_its_labels_is_not_moved_either(number, on_kvstore):
    class Computing(Net):
        def hybrid_forward(self, F, data, label):
            return super().hybrid_forward(F, data, label * 1)

    made = Computing()
    made.initialize(mx.init.Xavier(), ctx=devices(number))
    made.hybridize()
    trainer = mx.gluon.Trainer(made.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9},
                               update_on_kvstore=on_kvstore)
    for _ in range(20):
        backward(made, number)
        trainer.step(8)
        before = {name: parameter.list_data()[0].asnumpy() for name, parameter in made.collect_params().items()}
        losses = backward(made, number, 7)
        with pytest.raises(ValueError, match="^SoftmaxLoss: `label` must be a class, got 'another one in this batch"):
            trainer.step(8)
        assert losses[0].shape == (8 // number,)
        assert_unmoved(made, before)


@pytest.mark.parametrize("position", [0, 1])
def test_gradients_that_are_added_up_are_waited_for(position):
    """Of two batches for one step the first is no longer seen."""
    made = module("softmax", grad_req="add")
    before = {name: array.asnumpy() for name, array in made.get_params()[0].items()}
    for i in range(2):
        made.forward_backward(batch(7 if i == position else None))
    with pytest.raises(ValueError, match="^SoftmaxLoss: `label` must be "):
        made.update()
    for name, array in made.get_params()[0].items():
        np.testing.assert_array_equal(array.asnumpy(), before[name], err_msg=name)


def test_a_guard_of_your_own_is_waited_for_too():
    data = mx.sym.var("data")
    score = mx.sym.FullyConnected(data, num_hidden=1, name="score")
    small = mxloss.functional.one_where(mx.sym.BlockGrad(mx.sym.max(mx.sym.abs(data)) < 10))
    made = mx.mod.Module(mx.sym.MakeLoss(mx.sym.broadcast_mul(score, small), name="loss"), label_names=None)
    made.bind([("data", (2, 3))])
    made.init_params()
    made.init_optimizer()
    made.forward_backward(mx.io.DataBatch([mx.nd.ones((2, 3))]))
    made.update()
    made.forward_backward(mx.io.DataBatch([mx.nd.ones((2, 3)) * 11]))
    with pytest.raises(mx.base.MXNetError, match="take operator contains indices out of bound"):
        made.update()


def test_networks_without_a_guard_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(mx.nd.NDArray, "wait_to_read", lambda array: pytest.fail("waited"))
    net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=3), name="softmax")
    made = mx.mod.Module(net)
    made.bind([("data", (8, IN))], [("softmax_label", (8,))])
    made.init_params()
    made.init_optimizer()
    made.forward_backward(batch())
    made.update()


def test_the_mark_is_saved_with_the_symbol():
    net = mxloss.SoftmaxLoss(axis=1)(mx.sym.var("score"), mx.sym.var("digit"))
    guard, = mxloss.functional.guards(mx.sym.load_json(net.tojson()))
    assert {name: guard[name] for name in ("who", "label", "axis", "first", "allowed")} == {
        "who": "SoftmaxLoss", "label": "digit", "axis": 1, "first": 0, "allowed": []}
    assert json.loads(net.tojson())
