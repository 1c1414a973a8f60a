"""What every loss of the house keeps: walks mxloss/loss and runs each loss of the table through the same trials."""
import inspect
import re
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

import mxloss
from tests.loss.cases import CASES
from tests.loss.training import batch_of, module_of, step_of

FOLDER = Path(mxloss.loss.__file__).parent
STEMS = sorted(path.stem for path in FOLDER.iterdir()
               if not path.name.startswith("_") and (path.suffix == ".py" or path.is_dir()))
README = (FOLDER.parent.parent / "README.md").read_text(encoding="utf-8")


def class_name(stem):
    """SmoothL1Loss for smooth_l1."""
    return "".join(word[0].upper() + word[1:] for word in stem.split("_")) + "Loss"


# --- the plan: nothing is forgotten -----------------------------------------------------------------------------------

@pytest.mark.parametrize("stem", STEMS)
def test_every_file_has_its_names_a_case_tests_and_a_row_in_the_catalogue(stem):
    assert stem in CASES, "{} has no case in tests/loss/cases.py".format(stem)
    names = CASES[stem].names or [stem + "_loss", class_name(stem)]
    module = getattr(mxloss.loss, stem)
    tests = Path(__file__).parent / (CASES[stem].tests or "test_{}.py".format(stem))
    assert tests.exists(), "{} has no test file {}".format(stem, tests.name)
    for name in names:
        value = getattr(module, name, None)
        assert value is not None, "loss/{} has no {}".format(stem, name)
        assert getattr(mxloss.loss, name, None) is value, "{} is not exported by mxloss.loss".format(name)
        assert ">>> " in inspect.getdoc(value), "{} has no example".format(name)
        row = r"^\|.*`(mxloss\.)?(loss\.)?{}[`(]".format(name)
        assert re.search(row, README, re.M), "{} has no row in README's catalogue".format(name)


def test_every_case_has_its_file():
    assert sorted(CASES) == STEMS


@pytest.mark.parametrize("stem", STEMS)
def test_what_is_excused_is_a_trial_of_this_file(stem):
    for name in CASES[stem].excused if stem in CASES else ():
        assert "test_" + name in globals(), name


# --- the trials -------------------------------------------------------------------------------------------------------

BLOCKS = [stem for stem in CASES if CASES[stem].block]


@pytest.fixture(params=[(stem, dtype) for stem in BLOCKS for dtype in CASES[stem].dtypes],
                ids=lambda param: "-".join(param))
def typed(request):
    """A case and each type that it is compared in."""
    return CASES[request.param[0]], request.param[1]


@pytest.fixture(params=[stem for stem in BLOCKS if CASES[stem].num_class])
def classifier(request):
    """The case of a loss with classes."""
    return CASES[request.param]


@pytest.fixture(params=BLOCKS)
def case(request):
    """Each case, unless the trial does not apply to it."""
    case, trial = CASES[request.param], request.function.__name__[len("test_"):]
    if trial in case.excused:
        pytest.skip("does not apply to {}: {}".format(request.param, case.excused[trial]))
    return case


def ready(case, rng, weight=1.0):
    """The case's block with its parameters, which do not depend on how often `rng` was asked before."""
    block = case.block(weight)
    block.initialize()
    for name, value in parameters(case, block).items():
        block.collect_params()[name].set_data(value)
    return block


def parameters(case, block):
    return {block.prefix + name: mx.nd.array(value, dtype="float64")
            for name, value in case.parameters(np.random.RandomState(7)).items()}


def run(block, inputs, head=None):
    """Losses and the gradient of the first input, by autograd."""
    arrays = [mx.nd.array(array, dtype=array.dtype) for array in inputs.values()]
    arrays[0].attach_grad()
    with mx.autograd.record():
        loss = block(*arrays)
    loss.backward(head if head is None else mx.nd.array(head, dtype=loss.dtype))
    return loss.asnumpy(), arrays[0].grad.asnumpy()


def test_values_are_those_of_the_loop(typed, rng):
    case, dtype = typed
    inputs = case.inputs(rng, dtype)
    loss, gradient = run(ready(case, rng), inputs)
    first = next(iter(inputs.values()))
    assert loss.shape == first.shape[:1]
    assert gradient.dtype == np.dtype(dtype)
    np.testing.assert_allclose(loss, case.reference(*inputs.values()), rtol=case.dtypes[dtype], atol=case.dtypes[dtype])


def test_the_gradient_is_that_of_the_sum_of_the_losses(case, rng):
    inputs = case.inputs(rng, "float64")
    name, first = next(iter(inputs.items()))
    _, gradient = run(ready(case, rng), inputs)
    epsilon = 1e-6
    for _ in range(5):
        direction = rng.randn(*first.shape)
        up, down = (case.reference(*dict(inputs, **{name: first + sign * epsilon * direction}).values()).sum()
                    for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((up - down) / (2 * epsilon), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_hybrids_parents_and_symbols_agree(case, rng, dtype):
    inputs = case.inputs(rng, dtype)
    head = rng.rand(len(next(iter(inputs.values()))))
    expected = run(ready(case, rng), inputs, head)
    hybrid = ready(case, rng)
    hybrid.hybridize()
    parent = Parent(ready(case, rng))
    parent.hybridize()
    for block in (hybrid, parent):
        for got, wanted in zip(run(block, inputs, head), expected):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
    executor = bound(case, inputs)
    executor.forward(is_train=True)
    executor.backward([mx.nd.array(head, dtype=executor.outputs[0].dtype)])
    np.testing.assert_allclose(executor.outputs[0].asnumpy(), expected[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(executor.grad_dict[next(iter(inputs))].asnumpy(), expected[1], rtol=1e-6, atol=1e-7)


class Parent(gluon.HybridBlock):
    """A block that has the loss inside: once hybridized, Python sees no array any more."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def hybrid_forward(self, F, *inputs):
        return self.loss(*inputs)


def bound(case, inputs, grad_req="write", wrap=lambda loss: loss):
    """An executor of the loss as a symbol, with its gradient by the first input."""
    block = case.block(1.0)
    block.initialize()
    loss = wrap(block(*[mx.sym.var(name) for name in inputs]))
    states = {name: block.collect_params()[name].data() for name in loss.list_auxiliary_states()}
    arrays = {name: mx.nd.array(array, dtype=array.dtype) for name, array in inputs.items()}
    arrays.update(parameters(case, block))
    first = next(iter(inputs))
    return loss.bind(mx.cpu(), arrays, {first: mx.nd.zeros_like(arrays[first])},
                     {name: grad_req if name == first else "null" for name in arrays}, states)


def test_gradients_add_up_where_that_is_asked_for(case, rng):
    inputs, gradients = case.inputs(rng, "float64"), {}
    for grad_req, passes in (("write", 1), ("add", 3)):
        executor = bound(case, inputs, grad_req, mx.sym.MakeLoss)
        for _ in range(passes):
            executor.forward(is_train=True)
            executor.backward()
        gradients[grad_req] = executor.grad_dict[next(iter(inputs))].asnumpy()
    np.testing.assert_allclose(gradients["add"], 3 * gradients["write"], rtol=1e-9, atol=1e-12)


def test_permuting_the_batch_permutes_the_losses(case, rng):
    inputs = case.inputs(rng, "float64")
    order = rng.permutation(len(next(iter(inputs.values()))))
    block = ready(case, rng)
    for plain, permuted in zip(run(block, inputs), run(block, {name: array[order] for name, array in inputs.items()})):
        np.testing.assert_allclose(permuted, plain[order], rtol=1e-9, atol=1e-12)


def test_weight_scales_loss_and_gradient(case, rng):
    inputs = case.inputs(rng, "float64")
    for plain, weighted in zip(run(ready(case, rng), inputs), run(ready(case, rng, 0.25), inputs)):
        np.testing.assert_allclose(weighted, 0.25 * plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_weight_may_be_a_schedule(case, rng, dtype, hybridize):
    inputs = case.inputs(rng, dtype)
    scheduled = Parent(ready(case, rng, mxloss.WarmUp(1.0, steps=4)))
    scheduled.hybridize(hybridize)
    trainer = gluon.Trainer(scheduled.collect_params(), "sgd", {"learning_rate": 0, "wd": 0})
    for step in range(6):
        for got, wanted in zip(run(scheduled, inputs), run(ready(case, rng, min(step / 4, 1.0)), inputs)):
            assert got.dtype == wanted.dtype
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
        trainer.step(1)


def test_a_schedule_trains_like_its_numbers_in_module(case, rng):
    inputs = case.inputs(rng, "float64")
    schedule = mxloss.PiecewiseLinear([(1, 0.5), (3, 2.0)])
    block = case.block(schedule)
    made = module_of(block, inputs, 2, parameters(case, block), lr=0.01)
    for step in range(5):
        numbers = case.block(schedule(step))
        wanted = module_of(numbers, inputs, 1, parameters(case, numbers), lr=0.01)
        now = made.get_params()[0]
        wanted.set_params({name.replace(block.prefix, numbers.prefix): now[name] for name in now}, {})
        for each in (made, wanted):
            each.forward_backward(batch_of(inputs))
            each.update()
        np.testing.assert_allclose(made.get_outputs()[0].asnumpy(), wanted.get_outputs()[0].asnumpy(), rtol=1e-9)
        np.testing.assert_allclose(made.get_params()[0]["shift_weight"].asnumpy(),
                                   wanted.get_params()[0]["shift_weight"].asnumpy(), rtol=1e-7, atol=1e-9)


def test_sample_weight_scales_each_sample(case, rng):
    inputs = case.inputs(rng, "float64")
    weight = np.linspace(0, 2, len(next(iter(inputs.values()))))
    block = ready(case, rng)
    for plain, weighted in zip(run(block, inputs), run(block, dict(inputs, sample_weight=weight))):
        np.testing.assert_allclose(weighted, (plain.T * weight).T, rtol=1e-9, atol=1e-12)


def test_a_sample_weight_that_does_not_fit_is_refused_in_words(case, rng):
    inputs = case.inputs(rng, "float64")
    weight = np.ones(len(next(iter(inputs.values()))))
    block = ready(case, rng)
    with pytest.raises(ValueError, match="`sample_weight` must be of shape"):
        run(block, dict(inputs, sample_weight=weight[:-1]))
    with pytest.raises(ValueError, match="`sample_weight` must be of dtype float64, got 'float32'"):
        run(block, dict(inputs, sample_weight=weight.astype("float32")))


def test_several_devices_take_the_step_of_one(case, rng):
    inputs = case.inputs(rng, "float64")
    values = []
    for devices in (1, 2, 3):
        block = case.block(1.0)
        values.append(step_of(block, inputs, devices, parameters(case, block)))
    for value, step in values[1:]:
        assert value == pytest.approx(values[0][0], rel=1e-9)
        np.testing.assert_allclose(step, values[0][1], rtol=1e-9, atol=1e-12)


def test_repeating_the_batch_leaves_value_and_step_equal(case, rng):
    inputs = case.inputs(rng, "float64")
    (value, step), twice = (step_of(block, arrays, 1, parameters(case, block)) for block, arrays in (
        (case.block(1.0), inputs),
        (case.block(1.0), {name: np.concatenate([array, array]) for name, array in inputs.items()})))
    assert twice[0] == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(twice[1], step, rtol=1e-9, atol=1e-12)


def test_inputs_may_be_given_by_name(case, rng):
    arrays = {name: mx.nd.array(array, dtype=array.dtype) for name, array in case.inputs(rng, "float64").items()}
    block = ready(case, rng)
    np.testing.assert_array_equal(block(**arrays).asnumpy(), block(*arrays.values()).asnumpy())
    with pytest.raises(ValueError, match="`inputs` must be among .*, got 'mask'"):
        block(mask=None, **arrays)


def test_hyper_parameters_are_keyword_only(case):
    for name, parameter in inspect.signature(type(case.block(1.0))).parameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY or name in ("num_class", "feature_size")


def test_bad_hyper_parameters_are_refused_in_words(case):
    block = type(case.block(1.0))
    required = {name: 3 for name in ("num_class", "feature_size") if name in inspect.signature(block).parameters}
    assert case.bad
    for keywords, words in case.bad:
        with pytest.raises((TypeError, ValueError), match="^" + block.__name__ + ": " + words):
            block(**required, **keywords)


def test_arrays_of_another_kind_are_refused_in_words(case, rng):
    inputs = case.inputs(rng, "float32")
    arrays = {name: mx.nd.array(array, dtype=array.dtype) for name, array in inputs.items()}
    block = ready(case, rng)
    for name in arrays:
        with pytest.raises(TypeError, match="`{}` must be an NDArray or a Symbol, got ".format(name)):
            block(**dict(arrays, **{name: inputs[name]}))


# --- labels that are no class -----------------------------------------------------------------------------------------

BAD_LABELS = [-2, 99, 1.5, float("nan")]


def spoiled(inputs, value):
    label = inputs["label"].astype("float64")
    label.reshape(-1)[2] = value
    return dict(inputs, label=label)


@pytest.mark.parametrize("value", BAD_LABELS + ["num_class"])
def test_a_label_that_is_no_class_is_refused_in_words(classifier, rng, value):
    case = classifier
    value = case.num_class if value == "num_class" else value
    block = ready(case, rng)
    inputs = spoiled(case.inputs(rng, "float64"), value)
    place = "in row 2" if inputs["label"].ndim == 1 else r"at \(0, 2\)"
    with pytest.raises(ValueError, match=r"`label` must be a whole number in \[0, .*, got {} {}".format(
            float(value), place)):
        run(block, inputs)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("value", BAD_LABELS + ["num_class"])
def test_inside_a_graph_a_bad_batch_changes_nothing(classifier, rng, value, devices):
    case = classifier
    value = case.num_class if value == "num_class" else value
    inputs = case.inputs(rng, "float64")
    block = case.block(1.0)
    modules = [module_of(block, inputs, devices, parameters(case, block), momentum=0.9) for _ in range(2)]
    for module, batches in zip(modules, ([inputs, spoiled(inputs, value), inputs], [inputs, inputs])):
        failed = []
        for number, arrays in enumerate(batches):
            try:
                module.forward_backward(batch_of(arrays))
                module.update()
                mx.nd.waitall()  # the update too has to meet the error before anybody reads it: see one_where
            except (mx.base.MXNetError, ValueError) as error:
                failed.append((number, "out of bound" in str(error) or "`label` must be" in str(error)))
        assert failed == ([(1, True)] if len(batches) == 3 else [])
    for name, weight in modules[0].get_params()[0].items():
        np.testing.assert_array_equal(weight.asnumpy(), modules[1].get_params()[0][name].asnumpy())
