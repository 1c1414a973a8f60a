"""Criteria: which values they look at, when, and what they say; both training loops use them."""
import threading

import mxnet as mx
import pytest

from mxloss.stop import Judge, NotFinite, Outcome, Plateau, Signals, Target

NAN, INF = float("nan"), float("inf")


def fires(criterion, values):
    """The numbers of the readings at which it says that it is over."""
    return [number for number, value in enumerate(values) if criterion.see({"loss": value})]


@pytest.mark.parametrize(("options", "values", "expected"), [
    ({"direction": "min"}, [3, 2.1, 2, 1], [2, 3]),
    ({"direction": "max"}, [1, 2, 3, 1.9], [1, 2]),
    ({"direction": "min", "patience": 2}, [1, 3, 1, 2, 5], [3]),
    ({"direction": "min"}, [NAN, INF, -INF], [2]),
    ({"direction": "max"}, [NAN, -INF, INF], [2]),
    ({"direction": "min", "patience": 2}, [1, NAN, 1, 1], [3]),
])
def test_a_target_is_reached_as_often_in_a_row_as_its_patience(options, values, expected):
    assert fires(Target("loss", 2, **options), values) == expected


@pytest.mark.parametrize(("options", "values", "expected"), [
    ({"direction": "min", "patience": 2}, [5, 4, 4, 3, 3, 3.5], [5]),
    ({"direction": "max", "patience": 1}, [1, 2, 2, 3], [2]),
    ({"direction": "min", "patience": 1, "min_delta": 0.5}, [5, 4.6, 4.4, 3.9], [1]),
    ({"direction": "min", "patience": 2}, [NAN, NAN, 1], [1]),
    ({"direction": "max", "patience": 2}, [1, NAN, 2, NAN, NAN], [4]),
    ({"direction": "min", "patience": 1}, [INF, 3, -INF, 1], [3]),
])
def test_a_plateau_is_no_better_value_for_its_patience(options, values, expected):
    assert fires(Plateau("loss", **options), values) == expected


@pytest.mark.parametrize(("names", "values", "expected"), [
    ((), {"a": 1, "b": NAN}, "b"), ((), {"a": 1, "b": -INF}, "b"), ((), {"a": 1, "b": 2}, None),
    (("a",), {"a": 1, "b": NAN}, None), (("b",), {"a": INF, "b": NAN}, "b"),
])
def test_not_finite_names_what_is_not(names, values, expected):
    found = NotFinite(*names).see(values)
    assert (found and found[0]) == expected


@pytest.mark.parametrize("make", [lambda: Target("loss", 2, direction="min", patience=3),
                                  lambda: Plateau("loss", direction="min", patience=3)])
def test_a_restored_criterion_goes_on(make):
    values = [5, 1, 1, 1, 1, 1, 6]
    for cut in range(len(values)):
        first, second = make(), make()
        fired = fires(first, values[:cut])
        second.restore(first.state())
        assert fired + [number + cut for number in fires(second, values[cut:])] == fires(make(), values)


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: Target("loss", NAN, direction="min"), ValueError, "Target: `value` must be a finite number, got nan"),
    (lambda: Target("loss", "low", direction="min"), TypeError, "Target: `value` must be a number, got 'low'"),
    (lambda: Target("loss", 1, direction="auto"), ValueError, "Target: `direction` must be one of 'min', 'max', got "),
    (lambda: Target("loss", 1, direction="min", every=0), ValueError, "Target: `every` must be a whole number >= 1"),
    (lambda: Target("loss", 1, direction="min", every=2.5), TypeError, "Target: `every` must be a whole number"),
    (lambda: Target("loss", 1, direction="min", data="test"), ValueError, "Target: `data` must be one of 'train'"),
    (lambda: Target("loss", 1, direction="min", data="validation", every=3), ValueError,
     "Target: `every` must be 'epoch' where `data` is 'validation', got 3"),
    (lambda: Target("loss", 1, direction="min", patience=0), ValueError, "Target: `patience` must be"),
    (lambda: Plateau("loss", direction="min", patience=0), ValueError, "Plateau: `patience` must be"),
    (lambda: Plateau("loss", direction="min", patience=1, min_delta=-1), ValueError, "Plateau: `min_delta` must be"),
    (lambda: NotFinite(every="never"), TypeError, "NotFinite: `every` must be"),
])
def test_wrong_arguments_are_told(make, error, words):
    with pytest.raises(error, match=words):
        make()


def judged(make, losses, epochs=2, resume_at=None):
    """What a loop hears that calls a `Judge` as it is meant to be called; its metric is the mean of the epoch."""
    metric = mx.metric.Loss()
    judge = Judge("loop", make(), metric)
    for epoch in range(epochs):
        metric.reset()
        judge.begin_epoch()
        for batch, loss in enumerate(losses[epoch]):
            for part in [metric, *judge.windows]:
                part.update(None, mx.nd.array([loss]))
            found = judge.batch_done(epoch, batch)
            if found:
                return found
            if (epoch, batch) == resume_at:
                state = judge.state()
                judge = Judge("loop", make(), metric)
                judge.restore(state)
        found = judge.epoch_done(epoch, batch, {"train": dict(metric.get_name_value())})
        if found:
            return found
    return None


@pytest.mark.parametrize(("every", "expected"), [
    ("batch", (0, 1, 2.0)), (2, (0, 3, 2.5)), (3, (1, 2, 2.0)), ("epoch", (1, 4, 2.2)), (6, None)])
def test_when_a_criterion_looks_and_at_what(every, expected):
    losses = [[9, 2, 1, 4, 9], [1, 2, 3, 2, 3]]
    found = judged(lambda: Target("loss", 2.5, direction="min", every=every), losses)
    assert (found and (found.epoch, found.batch, pytest.approx(found.value))) == expected


def test_not_finite_looks_at_the_epoch_so_far():
    """A batch that nobody looked at is not forgotten."""
    found = judged(lambda: NotFinite(every=2), [[1, NAN, 1, 1, 1], [1]])
    assert found[:3] == ("not_finite", 0, 1)
    assert judged(lambda: NotFinite(every=2), [[NAN, 1, 1], [1, 1]])[:3] == ("not_finite", 0, 1)
    assert judged(lambda: NotFinite(every="epoch"), [[1, NAN, 1], [1, 1]])[:3] == ("not_finite", 0, 2)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (0, 2)])
def test_a_window_goes_on_after_a_stop_in_it(place):
    losses = [[9, 2, 4, 0, 1, 3]]

    def target():
        return Target("loss", 1.4, direction="min", every=3)  # 5, then 4/3

    assert judged(target, losses, 1, resume_at=place)[:3] == ("target", 0, 5)


def test_values_that_will_not_be_are_told():
    metric = mx.metric.create(["acc", "ce"])
    for criterion, words in (
            (Target("loss", 1, direction="min"), "loop: `stop` must be among 'accuracy', 'cross-entropy', got 'loss'"),
            (NotFinite("loss"), "loop: `stop` must be among 'accuracy', 'cross-entropy', got 'loss'"),
            (Target("accuracy", 1, direction="max", data="validation"),
             "loop: `stop` must be of train data, where there is no validation data, got 'validation'")):
        with pytest.raises(ValueError, match=words):
            Judge("loop", criterion, metric)
    with pytest.raises(TypeError, match="loop: `stop` must be Target, Plateau or NotFinite, or a list .*, got 0.5"):
        Judge("loop", [0.5], metric)


def test_signals_outside_the_main_thread_are_refused():
    errors = []

    def run():
        try:
            Signals(True)
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert errors == ["fit: `stop_on_signal` must be False outside the main thread, got True"]


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (None, 0)])
def test_the_exit_code_is_that_of_a_shell(number, code):
    assert Outcome("signal" if number else "end", 0, 0, signal=number).exit_code == code
