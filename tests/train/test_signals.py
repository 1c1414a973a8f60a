"""Signals end a training at the next batch, with a checkpoint; a kill at any moment leaves the one before whole."""
import pickle
import random
import signal
import time

import mxnet as mx
import pytest

from mxloss.checkpoint import Folder

from ..conftest import SEED
from ..stopping import After
from .runs import BATCHES, Seen, assert_equal, finish, fit, module, numbers, process


def started(folder, mode, devices=1):
    """A training in a process of its own that has something to interrupt."""
    running = process(folder, devices, mode)
    line = running.stdout.readline()
    assert line == b"started\n", (line, running.communicate(timeout=60)[1].decode()[-2000:])
    return running


@pytest.mark.parametrize(("number", "code", "devices"), [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2)])
def test_a_signal_ends_it_after_the_batch_with_a_checkpoint(tmp_path, number, code, devices):
    running = started(tmp_path, "signal", devices)
    running.send_signal(number)
    finish(running, code)
    reached = pickle.loads((tmp_path / "reached.pickle").read_bytes())
    reason, epoch, batch = reached["outcome"][:3]
    assert (reason, reached["outcome"][-1]) == ("signal", number)
    trained = epoch * BATCHES + batch + 1
    assert Folder(tmp_path / "checkpoints").list()[-1] == divmod(trained, BATCHES)
    if trained % BATCHES:
        assert epoch in reached["validation"]  # that of the epoch that was cut

    straight, seen = module(devices), Seen()
    fit(straight, epochs=10000, stop=After(trained), watch=[seen])
    assert_equal(numbers(straight), reached["numbers"])
    resumed, straight, after = module(devices), module(devices), Seen()
    fit(straight, epochs=10000, stop=After(trained + 6), watch=[seen])
    fit(resumed, tmp_path / "checkpoints", resume=True, epochs=10000, stop=After(6), watch=[after])
    assert_equal(numbers(straight), numbers(resumed))
    assert after.train == {place: seen.train[place] for place in after.train}
    assert len(after.train) == 6


def test_a_second_signal_acts_at_once(tmp_path):
    running = started(tmp_path, "stuck")
    running.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.poll() is None  # it waits for the batch, in which it is stuck
    running.send_signal(signal.SIGTERM)
    finish(running, -signal.SIGTERM)


def test_handlers_of_the_caller_are_back_afterwards():
    def mine(number, frame):
        raise AssertionError

    before = {number: signal.signal(number, mine) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        fit(module(), epochs=1, stop_on_signal=True)
        assert all(signal.getsignal(number) is mine for number in before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_while_the_last_epoch_validates_is_no_end_of_the_run_before_its_end():
    def interrupt(param):
        signal.raise_signal(signal.SIGTERM)

    outcome = fit(module(), epochs=1, stop_on_signal=True, eval_end_callback=interrupt)
    assert (outcome.reason, outcome.exit_code) == ("signal", 143)
    assert (outcome.epoch, outcome.batch) == (0, BATCHES - 1)


@pytest.mark.slow
@pytest.mark.parametrize("chain", range(4))
def test_killed_at_random_moments_it_has_the_checkpoint_before_whole_and_goes_on(tmp_path, chain):
    """Five kills each, of a training that writes a checkpoint at each batch, and goes on after each kill."""
    moments = random.Random(1000 * SEED + chain)
    folder, place = Folder(tmp_path / "checkpoints"), (0, 0)
    for _ in range(5):
        running = started(tmp_path, "kill")
        time.sleep(moments.uniform(0, 0.25))
        running.kill()
        finish(running, -signal.SIGKILL)
        checkpoint = folder.load()  # which checks the size and checksum of each file
        assert checkpoint[:2] >= place
        place = checkpoint[:2]
    assert place > (0, 0)
    straight = module()
    fit(straight, epochs=10000, stop=After(place[0] * BATCHES + place[1]))
    resumed = module()
    fit(resumed, folder.path, resume=True, epochs=10000, stop=After(1))
    assert_equal({name: array.asnumpy() for name, array in straight.get_params()[0].items()},
                 {name[4:]: array.asnumpy() for name, array in checkpoint.params.items() if name.startswith("arg:")})
    assert not [entry for entry in folder.path.iterdir() if entry.name.startswith(".")]  # leftovers of the kills
    mx.nd.waitall()
